"""What a training costs on many processes: bytes of a save and of a load, overlap, and a crash."""

import os
import re
import shutil
import time
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from megatron.core import dist_checkpointing

from checkpoint_tensors import loaded
from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.configuration import load_run, validate
from pretrain_llama.estimate import memory
from pretrain_llama.training import model as built
from pretrain_llama.training.distributed_optimizer import create_adam_state
from pretrain_llama.training.model import build_model, transformer_config
from pretrain_llama.training.optimizer import build_optimizer, gradient_norm
from pretrain_llama.training.optimizer_shards import distributed_optimizer, rectangles, sharded_optimizer
from pretrain_llama.training.processes import process_groups, seed_everything
from pretrain_llama.training.step import wrap_model
from trainings import RUN, Training, copied_with_output, start, train

OVERLAPPED = {"data": 2, "distributed_optimizer": True}
OFTEN = {"checkpoint_every_iterations": 2, "evaluate_every_iterations": 4}


def watched_training(folder: Path) -> None:
    """Train with several buckets, and tell what is stale before a save, what a save copies, and what a load reads."""
    from megatron.core.dist_checkpointing.strategies.filesystem_async import FileSystemWriterAsync
    from torch.distributed.checkpoint import filesystem

    from pretrain_llama.training import engine, state, step

    step.BUCKET_PARAMETERS = 30_000
    settle, sharded, read = engine.settle, state.sharded_optimizer, filesystem.FileSystemReader.read_data

    def settling(before_what: str, model: torch.nn.Module) -> None:
        before = [parameter.detach().clone() for parameter in model.parameters()]
        settle(model)
        stale = any(not torch.equal(was, now) for was, now in zip(before, model.parameters(), strict=True))
        print(f"stale before {before_what}: {stale}, {len(model.buffers[0].buckets)} buckets", flush=True)

    def sharding(optimizer, model, is_loading):
        own = {tensor.untyped_storage().data_ptr() for tensor in optimizer_tensors(optimizer)}
        result = sharded(optimizer, model, is_loading)
        shards = result["param_state"].values()
        copied = sum(shard.data.nbytes for shard in shards if shard.data.untyped_storage().data_ptr() not in own)
        held = sum(tensor.nbytes for tensor in optimizer_tensors(optimizer))
        print(f"copied {copied} of {sum(shard.data.nbytes for shard in shards)}, held {held}", flush=True)
        return result

    def preparing(self, plan, planner):
        prepare(self, plan, planner)
        written = [tensor for *_, (_, tensors) in self.write_buckets for _, tensor in tensors]
        print(f"written {sum(tensor.nbytes for tensor in written)}", flush=True)

    def reading(self, plan, planner):
        count = sum(self.storage_data[item.storage_index].length for item in plan.items)
        print(f"read {count}", flush=True)
        return read(self, plan, planner)

    prepare, FileSystemWriterAsync.prepare_write_data = FileSystemWriterAsync.prepare_write_data, preparing
    engine.settle, step.settle = partial(settling, "save"), partial(settling, "evaluation")
    state.sharded_optimizer, filesystem.FileSystemReader.read_data = sharding, reading
    train(folder)


def optimizer_tensors(optimizer) -> list[torch.Tensor]:
    """The fp32 weights and moments that a process's optimizer holds."""
    inner = optimizer.optimizer
    moments = [tensor for each in inner.state.values() for tensor in each.values() if tensor.dim()]
    return [*moments, *(main for group in inner.param_groups for main in group["params"])]


def trained(copy: Training, processes: int = 2) -> list[str]:
    started = start(watched_training, copy.folder, outputs=copy.folder.with_name("watched"), processes=processes)
    code, printed = started.wait()
    assert code == 0, printed
    return [output.read_text() for output in started.outputs]


@pytest.fixture(scope="module")
def overlapped(training: Training, tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, list[str]]:
    """A training in bf16 with overlap, of two data parallel processes, and what each printed."""
    folder = tmp_path_factory.mktemp("overlapped") / "run"
    copy = training.copied(folder, parallel=OVERLAPPED, training={"precision": "bf16"}, operation=OFTEN)
    return copy, trained(copy)


def test_overlap_changes_no_loss(training: Training, overlapped: tuple[Training, list[str]], tmp_path: Path) -> None:
    copy = overlapped[0].copied(tmp_path / "run", parallel={"overlap": False})
    copy.train()
    assert copy.losses() == overlapped[0].losses(), "bit for bit: two processes' sums have one order"
    logs = [(run.output / "validation.jsonl").read_text() for run in (copy, overlapped[0])]
    assert logs[0] == logs[1], "evaluated right after a step"
    assert copy.losses() == pytest.approx(training.losses(), abs=5e-2)


def test_a_save_right_after_a_step_has_the_values_of_the_main_parameters(
    overlapped: tuple[Training, list[str]],
) -> None:
    copy, printed = overlapped
    for what in ("save", "evaluation"):
        assert f"stale before {what}: True, 4 buckets" in printed[0], "or it says nothing: nothing had to be gathered"
    for checkpoint in (copy.output / "checkpoints").glob("iter_*"):
        tensors = loaded(checkpoint)
        weights = [name for name in tensors if not name.startswith("optimizer.")]
        assert len(weights) == 9
        for name in weights:
            main = tensors[f"optimizer.state.param.{name}"]
            assert main.dtype == torch.float32 and torch.equal(main.bfloat16(), tensors[name]), name


def test_a_save_takes_what_is_estimated(overlapped: tuple[Training, list[str]]) -> None:
    copy, printed = overlapped
    run, architecture = load_run(copy.folder), read_architecture(copy.folder / "checkpoint")
    estimated = memory.at_save(run, architecture)
    assert estimated["own"]["device"] == 0
    held = memory.estimate(run, architecture)["optimizer"]
    for output in printed:
        written = list(map(int, re.findall(r"written (\d+)", output)))
        assert written and all(size == pytest.approx(estimated["own"]["host"], rel=0.05) for size in written)
        (found, *_) = re.findall(r"held (\d+)", output)
        assert int(found) == pytest.approx(held, rel=0.01)


def test_a_save_copies_nothing_and_a_load_reads_a_part(overlapped: tuple[Training, list[str]], tmp_path: Path) -> None:
    straight, printed = overlapped
    for output in printed:
        saves = [tuple(map(int, found)) for found in re.findall(r"copied (\d+) of (\d+), held (\d+)", output)]
        assert saves and all(copied == 0 < stored == held for copied, stored, held in saves)
    copy = copied_with_output(straight, tmp_path / "run")
    checkpoints = copy.output / "checkpoints"
    for iteration in (6, 8):
        shutil.rmtree(torch_dist.iteration_folder(checkpoints, iteration))
    torch_dist.write_tracker(checkpoints, 4)
    state_bytes = sum(path.stat().st_size for path in torch_dist.iteration_folder(checkpoints, 4).glob("*.distcp"))
    for output in trained(copy):
        read = sum(map(int, re.findall(r"read (\d+)", output)))
        assert 0 < read <= 1.2 * state_bytes / 2, f"{read} of {state_bytes}"
    assert copy.losses() == straight.losses(), "bit for bit"


def test_a_save_is_what_megatron_core_would_have_saved(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In names, sizes and values; and its own loads."""
    metadata = {"distrib_optim_sharding_type": "fully_reshardable"}
    with process_groups(1, 1, "a test"):
        seed_everything(1)
        run = validate(RUN | {"parallel": {"distributed_optimizer": True}}, "run", "a test")
        architecture = read_architecture(llama)
        config = transformer_config(architecture, "bf16", run["parallel"])
        model = build_model(architecture, config, 32)
        adamw = build_optimizer(run["training"], config, wrap_model(model, config, run["parallel"]))
        part = distributed_optimizer(adamw)
        assert part
        state = optimizer_tensors(part)
        for tensor in state:
            tensor.detach().normal_()
        wanted = [tensor.clone() for tensor in state]
        saved = {
            "ours": sharded_optimizer(part, model.sharded_state_dict()),
            "theirs": part.sharded_state_dict(model.sharded_state_dict(), metadata=metadata),
        }
        for name, sharded in saved.items():
            (tmp_path / name).mkdir()
            dist_checkpointing.save({"optimizer": sharded}, str(tmp_path / name))
        ours, theirs = (loaded(tmp_path / name) for name in saved)
        assert ours.keys() == theirs.keys() and len(ours) == 3 * 9
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        for tensor in state:
            tensor.detach().zero_()
        into = {"optimizer": sharded_optimizer(part, model.sharded_state_dict())}
        dist_checkpointing.load(into, str(tmp_path / "theirs"))
        assert all(torch.equal(tensor, was) for tensor, was in zip(state, wanted, strict=True))

        part.optimizer.state.clear()  # as Transformer Engine's Adam begins
        monkeypatch.setattr(part, "state_dict", dict)
        monkeypatch.setattr(part, "load_state_dict", lambda _: create_adam_state(adamw))
        made = sharded_optimizer(part, model.sharded_state_dict(), is_loading=True)
        assert len(made["param_state"]) == len(into["optimizer"]["param_state"])


def test_rectangles_make_up_every_range() -> None:
    for rows, columns in product(range(1, 5), range(1, 5)):
        matrix = torch.arange(rows * columns).view(rows, columns)
        for begin, end in product(range(rows * columns + 1), repeat=2):
            blocks = list(rectangles((rows, columns), begin, end))
            found = [matrix[r : r + height, c : c + width] for (r, c), (height, width) in blocks]
            assert [n for block in found for n in block.flatten().tolist()] == list(range(begin, end))
            assert len(blocks) <= 3 and all(block.numel() for block in found)
    assert list(rectangles((7,), 2, 5)) == [((2,), (3,))]


def train_where_one_raises(folder: Path) -> None:
    """Train; the second process raises at its second step, and leaving its groups would wait, as NCCL's does."""
    import torch.distributed as dist

    from pretrain_llama.training import processes
    from pretrain_llama.training.loop import Trainer

    step = Trainer.step

    def raising(self: Trainer) -> str | None:
        if os.environ["RANK"] == "1" and self._state.iteration:
            raise ValueError("a step of the second process")
        return step(self)

    Trainer.step = raising
    processes._leave = lambda: time.sleep(3600)
    assert dist.is_available()
    train(folder)


def test_a_process_that_raises_says_so_and_all_end(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", parallel={"data": 2})
    started = start(train_where_one_raises, copy.folder, outputs=tmp_path / "raising", processes=2)
    for process in reversed(started.processes):
        process.join(60)
    assert [process.exitcode for process in started.processes] == [1, 1]
    printed = started.outputs[1].read_text()
    assert "Traceback" in printed and printed.endswith("ValueError: a step of the second process\n")


@pytest.mark.parametrize("missing", [None, "gcc", "headers", "triton"])
def test_what_is_compiled_needs_a_compiler_and_the_headers_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    (tmp_path / "Python.h").touch()
    include = tmp_path / "none" if missing == "headers" else tmp_path
    monkeypatch.setattr(built.sysconfig, "get_path", lambda _: str(include))
    monkeypatch.setattr(built.shutil, "which", lambda _: None if missing == "gcc" else "/usr/bin/gcc")
    monkeypatch.setattr(built.importlib.util, "find_spec", lambda _: None if missing == "triton" else object())
    assert built.can_compile() == (missing is None)


class Gradients:
    """An optimizer, as far as its norm needs one."""

    def __init__(self, gradients: list[torch.Tensor]) -> None:
        self.get_grads_for_grad_norm = lambda: gradients
        self.get_grad_stats_parallel_group = lambda: None


def test_the_norm_of_gradients_is_exact_and_that_of_megatron_core() -> None:
    from megatron.core.optimizer.clip_grads import get_grad_norm_fp32

    torch.manual_seed(3)
    gradients = [torch.randn(size) * scale for size, scale in ((4_000_000, 1.0), (64, 30.0), ((30, 40), 1e-3))]
    exact = sum(gradient.double().square().sum() for gradient in gradients).sqrt().item()
    with process_groups(1, 1, "a test"):
        assert gradient_norm(Gradients(gradients)) == pytest.approx(exact, rel=1e-12)
        assert gradient_norm(Gradients([])) == 0, "a process may have none"
        assert get_grad_norm_fp32(gradients) == pytest.approx(exact, rel=1e-3)
