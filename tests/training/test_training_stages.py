"""Stages: what they train, leave bit for bit, their rates and phases; and rows that are new to a vocabulary."""

from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoint_tensors import loaded
from pretrain_llama.checkpoints.architecture import Architecture, read_architecture
from pretrain_llama.configuration import load_run
from pretrain_llama.errors import ConfigError
from pretrain_llama.files import read_json
from pretrain_llama.run.log_file import read_log
from pretrain_llama.run.stages import check_stages, identified, stage_after
from pretrain_llama.run.trainers import why_not
from pretrain_llama.settings import RunSettings
from pretrain_llama.training import new_rows, optimizer, step
from pretrain_llama.training.model import build_model, transformer_config
from pretrain_llama.training.processes import process_groups, seed_everything
from trainings import Training, copied_with_output

FIRST = 300
STAGES = [
    {"iterations": 3, "trains": "new_rows", "learning_rate": 1e-2, "warmup_iterations": 1},
    {"iterations": 2, "trains": "embeddings", "learning_rate": 5e-3},
    {"iterations": 3, "trains": "all", "learning_rate": 3e-3, "warmup_iterations": 1},
]
STAGED = {"stages": STAGES, "first_new_id": FIRST, "schedule": "constant"}
VOCABULARY = {"embedding.word_embeddings.weight", "output_layer.weight"}


@pytest.fixture(scope="module")
def staged(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training in three stages, of two data parallel processes, with a checkpoint of each iteration."""
    parallel = {"data": 2, "distributed_optimizer": True}
    often = {"checkpoint_every_iterations": 1}
    copy = training.copied(
        tmp_path_factory.mktemp("staged") / "run", parallel=parallel, training=STAGED, operation=often
    )
    copy.train()
    return copy


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in loaded(folder).items() if not name.startswith("optimizer.")}


def test_a_stage_changes_what_it_trains_and_nothing_else(staged: Training) -> None:
    checkpoints = staged.output / "checkpoints"
    steps = [weights(staged.folder / "checkpoint" / "release")]
    steps += [weights(checkpoints / f"iter_000000{iteration}") for iteration in (3, 5, 8)]
    begun, after_rows = steps[:2]
    for name in begun:
        same = [torch.equal(before[name], after[name]) for before, after in pairwise(steps)]
        assert same == ([False] * 3 if name in VOCABULARY else [True, True, False]), name
    for name in VOCABULARY:
        for rows in (slice(0, FIRST), slice(400, None)):
            bits = [tensors[name][rows].view(torch.int32) for tensors in (begun, after_rows)]
            assert torch.equal(*bits), "bit for bit, signs of zeros too"
        assert not torch.equal(begun[name][FIRST:400], after_rows[name][FIRST:400])
    of_second = {name for name in loaded(checkpoints / "iter_0000004") if name.startswith("optimizer.state.exp_avg.")}
    assert {name.removeprefix("optimizer.state.exp_avg.") for name in of_second} == VOCABULARY
    assert staged.losses()[-1] < staged.losses()[0] - 0.3


def test_a_stage_is_a_phase_with_its_own_rate(staged: Training) -> None:
    phases = read_json(staged.output / "phases.json")
    assert [phase["iteration"] for phase in phases] == [0, 3, 5]
    assert [phase["identity"]["stage"]["trains"] for phase in phases] == [stage["trains"] for stage in STAGES]
    rates = [record["learning_rate"] for record in read_log(staged.output)]
    assert rates == pytest.approx([0, 1e-2, 1e-2, 5e-3, 5e-3, 0, 3e-3, 3e-3])
    consumed = [record["consumed_tokens"] for record in read_log(staged.output)]
    assert consumed == [256 * number for number in range(1, 9)], "nothing repeated, nothing left out"
    assert (staged.output / "finished.json").exists()


@pytest.mark.parametrize("iteration", [2, 3], ids=["within a stage", "between two"])
def test_a_stage_resumes_on_another_layout(staged: Training, tmp_path: Path, iteration: int) -> None:
    parallel = {"data": 1, "tensor": 2} if iteration == 2 else {"data": 1, "pipeline": 2}
    copy = copied_with_output(staged, tmp_path / "run", parallel=parallel)
    for later in range(iteration + 1, 9):
        (copy.output / "checkpoints" / f"iter_000000{later}").rename(tmp_path / f"{later}")
    (copy.output / "finished.json").unlink()
    assert f"resumed at iteration {iteration}" in copy.train()
    assert copy.losses() == pytest.approx(staged.losses(), abs=1e-5)


@pytest.fixture
def run(training: Training) -> RunSettings:
    changed = load_run(training.folder)
    changed["training"] |= deepcopy(STAGED)  # type: ignore[typeddict-item]
    return changed


@pytest.fixture
def architecture(llama: Path) -> Architecture:
    return read_architecture(llama)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "too short": ({"iterations": 9}, {}, "the stages have 8 iterations, the training has 9"),
    "all warm-up": ({}, {"warmup_iterations": 3}, "3 iterations do not hold 3 of warm-up, with some left at full rate"),
    "no room to fall": ({"schedule": "wsd", "decay_iterations": 3}, {}, "do not hold 1 of warm-up and 3 of decay"),
    "below the least rate": ({"min_learning_rate": 4e-3}, {}, "learning_rate 0.003 is below min_learning_rate 0.004"),
    "which rows?": ({"first_new_id": None}, {}, "a stage that trains new_rows needs to know which rows are new"),
    "whose rate?": (
        {"first_new_id": None, "stages": [], "new_rows_rate": 5.0},
        {},
        "new_rows_rate 5 needs to know which rows are new",
    ),
    "behind the end": ({"first_new_id": 400}, {}, "first_new_id 400 is behind the last of the checkpoint's 400 ids"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_stages_that_do_not_fit_are_refused(run: RunSettings, architecture: Architecture, case: str) -> None:
    training, last, message = REFUSED[case]
    check_stages(run["training"], run["parallel"], architecture, "run.yaml")
    run["training"]["stages"][-1] |= last  # type: ignore[typeddict-item]
    run["training"] |= training  # type: ignore[typeddict-item]
    with pytest.raises(ConfigError, match=message):
        check_stages(run["training"], run["parallel"], architecture, "run.yaml")


def test_a_pipeline_with_nothing_to_train_within_is_refused(run: RunSettings, architecture: Architecture) -> None:
    run["parallel"]["pipeline"] = 4
    with pytest.raises(ConfigError, match="of which 2 of the 4 pipeline stages have none"):
        check_stages(run["training"], run["parallel"], architecture, "run.yaml")


def test_only_a_run_with_stages_names_them_in_its_phases(run: RunSettings) -> None:
    assert identified(run["training"], 3, {"data": {}})["stage"] == {"iteration": 3, "trains": "embeddings"}
    run["training"]["stages"] = []
    assert identified(run["training"], 3, {"data": {}}) == {"data": {}}, "as earlier versions wrote it"


def test_megatron_lm_has_neither_stages_nor_a_rate_of_new_rows(run: RunSettings, architecture: Architecture) -> None:
    assert why_not(run, architecture) == "it has no stages"
    run["training"] |= {"stages": [], "new_rows_rate": 2.0}  # type: ignore[typeddict-item]
    assert why_not(run, architecture) == "it has no new_rows_rate"
    run["training"]["new_rows_rate"] = 1.0
    assert why_not(run, architecture) is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("trains", ["new_rows", "all"])
def test_new_rows_change_by_so_many_times_what_adamw_does(
    run: RunSettings, architecture: Architecture, precision: str, trains: str
) -> None:
    """Of the same gradients, too small to be clipped: weight decay is in both."""
    run["training"] |= {"precision": precision}  # type: ignore[typeddict-item]
    run["training"]["stages"][0]["trains"] = trains  # type: ignore[typeddict-item]
    before, once = rows_after_a_step(run, architecture, 1.0)
    same, thrice = rows_after_a_step(run, architecture, 3.0)
    assert torch.equal(before, same)
    assert (once - before)[FIRST:400].abs().min() > 1e-6, "or the comparison says nothing"
    torch.testing.assert_close((thrice - before)[FIRST:400], 3 * (once - before)[FIRST:400], rtol=1e-4, atol=1e-8)
    assert torch.equal(once[:FIRST], thrice[:FIRST])
    assert torch.equal(once[:FIRST], before[:FIRST]) == (trains == "new_rows")


def rows_after_a_step(run: RunSettings, architecture: Architecture, rate: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The optimizer's rows of the embedding, before and after a step with a gradient of each row."""
    run["training"]["new_rows_rate"] = rate
    stage = stage_after(run["training"], 0)
    settings = stage.applied(run["training"])
    with process_groups(1, 1, "a test"):
        seed_everything(1)
        config = transformer_config(architecture, settings["precision"], run["parallel"])
        model = build_model(architecture, config, 32)
        new_rows.freeze(model, stage)
        wrapped = step.wrap_model(model, config, run["parallel"])
        adamw = optimizer.build_optimizer(settings, config, wrapped)
        own = new_rows.NewRows(model, adamw, settings, stage, architecture.vocab_size)
        weight = model.embedding.word_embeddings.weight
        main = new_rows.MainWeights(adamw).rows(weight, 0, len(weight))[0].view_as(weight)
        before = main.clone()
        optimizer.build_schedule(settings, adamw, lambda iterations: iterations * 8, stage).step(16)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.main_grad.copy_(torch.randn_like(parameter, dtype=torch.float32) * 1e-4)
        own.mask()
        adamw.prepare_grads()
        optimizer.clip_and_step(adamw, optimizer.gradient_norm(adamw))
        assert torch.equal(weight.float(), main.to(weight.dtype).float()), "the model has what the optimizer has"
        return before, main.clone()
