"""Trainings that are killed, stopped, moved to another layout, or find a checkpoint damaged: nothing is lost."""

import json
import math
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.checkpoints.torch_dist_metadata import read_metadata
from pretrain_llama.run.history import History
from pretrain_llama.run.log_file import VALIDATION, read_log
from spoilt import flip_a_bit
from trainings import Training, convert, copied_with_output, start, train

KILLS = 20
LONG = {"training": {"iterations": 100}, "operation": {"checkpoint_every_iterations": 4, "log_every_iterations": 50}}


@pytest.fixture(scope="module")
def killed(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training killed after its checkpoint of iteration 3: tests copy it."""
    copy = training.copied(tmp_path_factory.mktemp("killed") / "run")
    kill_after_checkpoint(copy)
    return copy


def kill_after_checkpoint(copy: Training) -> None:
    """Train until the first checkpoint has its name, and kill."""
    started = copy.start()
    started.wait_for(lambda: History(copy.output).events("saved"))
    started.kill()


@pytest.mark.parametrize(
    ("kills", "how"),
    [(KILLS, {}), (KILLS // 4, {"operation": {"save_in_background": True}}), (KILLS // 4, {"parallel": {"data": 2}})],
    ids=["at once", "in the background", "two processes"],
)
def test_however_often_it_is_killed_the_losses_are_the_same(
    training: Training, tmp_path: Path, kills: int, how: dict
) -> None:
    straight, copy = (training.copied(tmp_path / name, **LONG) for name in ("straight", "killed"))
    straight.change(operation={"checkpoint_every_iterations": 1000}, parallel=how.get("parallel", {}))
    straight.train()
    copy.change(**how)
    chance, history = random.Random(len(how)), History(copy.output)
    for kill in range(kills):
        begun = len(history.events("started") + history.events("resumed"))
        started = copy.start()
        if kill % 4:  # after some steps; else while it starts
            started.wait_for(lambda begun=begun: len(history.events("started") + history.events("resumed")) > begun)
            further = len(read_log(copy.output)) + chance.randint(0, 20 if "operation" in how else 9)
            started.wait_for(lambda further=further: len(read_log(copy.output)) >= further)
        time.sleep(chance.uniform(0, 0.2))
        assert started.processes[0].is_alive(), "it ended before it was killed"
        started.kill()
    resumed = [event["iteration"] for event in History(copy.output).events("resumed")]
    assert len(set(resumed)) >= (3 if kills == KILLS else 1), "it was killed before it ever got anywhere"
    copy.train()
    assert copy.losses() == straight.losses(), "bit for bit"

    board = EventAccumulator(str(copy.output / "tensorboard")).Reload()
    points = board.Scalars("training/loss")
    assert [point.step for point in points] == list(range(1, 101)), "no point twice, none missing"
    assert [point.value for point in points] == pytest.approx(copy.losses())
    assert not list((copy.output / "checkpoints").glob(".*"))


@pytest.mark.parametrize("parallel", [{"data": 2}, {"tensor": 2, "sequence": True}, {"pipeline": 2}], ids=str)
def test_it_resumes_on_another_layout(training: Training, killed: Training, tmp_path: Path, parallel: dict) -> None:
    copy = copied_with_output(killed, tmp_path / "run", parallel=parallel)
    assert "resumed at iteration" in copy.train()
    assert copy.losses() == pytest.approx(training.losses(), abs=1e-6)


def test_a_distributed_optimizer_resumes_on_another_layout(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", parallel={"data": 2, "distributed_optimizer": True})
    kill_after_checkpoint(copy)
    moved = copied_with_output(copy, tmp_path / "moved", parallel={"data": 1, "tensor": 2})
    for resumed in (copy, moved):
        assert "resumed at iteration" in resumed.train()
        assert resumed.losses() == pytest.approx(training.losses(), abs=1e-6)
    copy.change(parallel={"data": 1, "distributed_optimizer": False})
    assert "was written with distributed_optimizer: true" in copy.refused()


def test_padding_is_made_and_cut_where_the_tensor_parallel_size_changes(
    training: Training, llama: Path, tmp_path: Path
) -> None:
    """400 ids are 480 rows in multiples of 96, and 576 in multiples of 2 x 96."""
    parallel = {"data": 2, "distributed_optimizer": True}
    copy = training.copied(tmp_path / "run", parallel=parallel, training={"precision": "bf16"})
    convert(copy, llama, 1, 96)
    kill_after_checkpoint(copy)
    straight = copied_with_output(copy, tmp_path / "straight")
    straight.train()
    copy.change(parallel={"tensor": 2, "data": 1}, operation={"checkpoint_every_iterations": 5})
    started = copy.start()
    started.wait_for(lambda: History(copy.output).events("saved")[1:])
    started.kill()
    copy.change(parallel=parallel | {"tensor": 1})
    assert "resumed at iteration 5" in copy.train()
    stored = [torch_dist.iteration_folder(copy.output / "checkpoints", iteration) for iteration in (3, 5)]
    rows = [read_metadata(folder).tensors["embedding.word_embeddings.weight"].size[0] for folder in stored]
    assert rows == [480, 576]
    assert copy.losses()[:3] == straight.losses()[:3]
    more = math.log(576 / 480)  # of a model that knows next to nothing: 96 classes more
    assert copy.losses()[3] - straight.losses()[3] == pytest.approx(more, abs=2e-2)
    evaluated = [[record["loss"] for record in read_log(run.output, VALIDATION)] for run in (copy, straight)]
    assert len(evaluated[0]) == 3
    for own, wanted in zip(*evaluated, strict=True):
        assert own == pytest.approx(wanted, abs=5e-2), "without padding, the model is the same"


@pytest.mark.parametrize("why", ["SIGTERM", "time limit"])
def test_it_saves_and_ends_when_asked_to(training: Training, tmp_path: Path, why: str) -> None:
    limit = {"time_limit_seconds": 0.01} if why == "time limit" else {}
    copy = training.copied(tmp_path / "run", operation=limit | {"checkpoint_every_iterations": 1000})
    started = copy.start()
    if why == "SIGTERM":
        started.wait_for(lambda: read_log(copy.output))
        started.terminate()
    code, printed = started.wait()
    assert code == 0, printed
    assert "the same command continues" in printed
    stopped = json.loads((copy.output / "continue.json").read_text())
    assert stopped["reason"] == why and 1 <= stopped["iteration"] < 8
    assert not (copy.output / "finished.json").exists()

    copy.change(operation={"time_limit_seconds": None})
    copy.train()
    assert copy.losses() == training.losses()
    assert not (copy.output / "continue.json").exists() and (copy.output / "finished.json").exists()


def cut_short(checkpoint: Path) -> None:
    file = max(checkpoint.glob("*.distcp"))
    file.write_bytes(file.read_bytes()[:-10])


def lose_its_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()


def empty_its_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (cut_short, "bytes, "),
        (flip_a_bit, "are not those that were written"),
        (lose_its_manifest, "manifest.json is missing"),
        (empty_its_manifest, "manifest.json is missing, or lacks something"),
    ],
)
def test_a_damaged_checkpoint_falls_back_loudly(
    training: Training, tmp_path: Path, damage: Callable[[Path], None], problem: str
) -> None:
    copy = copied_with_output(training, tmp_path / "run")
    damage(copy.output / "checkpoints" / "iter_0000008")
    printed = copy.train()
    assert "WARNING: checkpoint" in printed and problem in printed
    assert "resumed at iteration 6" in printed
    assert copy.losses() == training.losses()
    kept = copy.output / "checkpoints" / "iter_0000008_damaged_1"
    assert kept.exists() and History(copy.output).events("damaged")[0]["kept_as"] == kept.name


def train_with_late_listings(folder: Path) -> None:
    """Train where the first process does not see what others wrote, as on NFS, until the checkpoint has its name."""
    from pretrain_llama.training.processes import dist

    def as_on_nfs(see):
        def seen(path: Path, *pattern: str):
            hidden = path.name.endswith(".part") and dist.is_initialized() and dist.get_rank() == 0
            return (
                each
                for each in see(path, *pattern)
                if not (hidden and re.match(r"__1_|(hashes|results)_1\.", each.name))
            )

        return seen

    Path.glob, Path.iterdir = as_on_nfs(Path.glob), as_on_nfs(Path.iterdir)
    train(folder)


def test_what_is_listed_late_is_verified_all_the_same(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", parallel={"data": 2}, training={"iterations": 2})
    code, printed = start(train_with_late_listings, copy.folder, outputs=tmp_path / "late", processes=2).wait()
    assert code == 0, printed
    (checkpoint,) = (copy.output / "checkpoints").glob("iter_*")
    stated = json.loads((checkpoint / "manifest.json").read_text())["files"]
    there = {path.name for path in checkpoint.iterdir()} - {"manifest.json"}
    assert stated.keys() == there and {name[:4] for name in there if name.startswith("__")} == {"__0_", "__1_"}


def test_half_an_event_of_a_full_disk_is_left_out(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.note("saved", iteration=1)
    with open(tmp_path / "events.jsonl", "a") as file:
        file.write('{"event": "sav')
    assert [event["iteration"] for event in history.events("saved")] == [1]
    history.note("saved", iteration=2)
    assert [event["iteration"] for event in history.events("saved")] == [1, 2]


def test_it_never_starts_again_by_accident(killed: Training, tmp_path: Path) -> None:
    copy = copied_with_output(killed, tmp_path / "run")
    shutil.rmtree(copy.output / "checkpoints")
    printed = copy.refused()
    assert "the training saved iteration 3, but no whole checkpoint is left" in printed
    assert f"move {copy.output} away" in printed


def train_without_patience(folder: Path) -> None:
    from pretrain_llama.training import resumption as module

    module.LOCK_WAIT_SECONDS = 0.2
    train(folder)


def test_two_trainings_do_not_share_an_output(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", training={"iterations": 1000})
    started = copy.start()
    started.wait_for(lambda: read_log(copy.output))
    code, printed = start(train_without_patience, copy.folder, outputs=tmp_path / "second").wait()
    assert code == 2 and "another training writes to this output" in printed, printed
    assert started.processes[0].is_alive()
    started.kill()


def test_checkpoints_are_kept_as_configured(training: Training, tmp_path: Path) -> None:
    keep = {"checkpoint_every_iterations": 1, "keep_last_checkpoints": 2, "keep_every_iterations": 3}
    copy = training.copied(tmp_path / "run", operation=keep)
    copy.train()
    found = sorted(path.name for path in (copy.output / "checkpoints").glob("iter_*"))
    assert found == ["iter_0000003", "iter_0000006", "iter_0000007", "iter_0000008"]


def fill_the_disk(folder: Path) -> None:
    """Train, with a limit on the size of files in place of a full disk."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    train(folder)


def test_a_checkpoint_that_cannot_be_written_is_an_error(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run")
    code, printed = start(fill_the_disk, copy.folder, outputs=tmp_path / "full").wait()
    assert code == 2 and "a checkpoint could not be written" in printed, printed
    assert not list((copy.output / "checkpoints").glob("iter_*"))
    copy.train()
    assert copy.losses() == training.losses()
