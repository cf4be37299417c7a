"""train_megatron_lm.py: Megatron-LM's own loop trains a run folder, to the losses of our trainer, on the CPU."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from exported import evaluate_with_transformers
from pretrain_llama.run.history import History
from pretrain_llama.run.log_file import CONSUMPTION, VALIDATION, read_log
from trainings import Training, copied_with_output, program, start

STEPS = 20
LONG = {"training": {"iterations": STEPS}, "operation": {"checkpoint_every_iterations": 6}}
# torch's workers that read ahead cannot be forked from a process of the tests' fork server.
MEGATRON_LM = {"trainer": "megatron_lm", "megatron_lm": {"arguments": {"num-workers": 0}}}


@pytest.fixture(scope="module")
def ours(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """The run, trained by our own trainer: tests only read it."""
    copy = training.copied(tmp_path_factory.mktemp("ours") / "run", **LONG)
    copy.train()
    return copy


@pytest.fixture(scope="module")
def theirs(ours: Training, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """The same run, trained by Megatron-LM's: tests only read it."""
    copy = ours.copied(tmp_path_factory.mktemp("theirs") / "run", **MEGATRON_LM)
    printed = copy.train()
    assert "WARNING: no GPU: Megatron-LM trains on the CPU, which is for tests alone" in printed
    return copy


def check_alike(copy: Training, ours: Training) -> None:
    """Check that two trainings logged the same: the batches, the figures of each step, the evaluations."""
    found, wanted = (read_log(run.output) for run in (copy, ours))
    assert copy.losses() == pytest.approx(ours.losses(), abs=1e-4)
    for key in ("gradient_norm", "learning_rate", "batch_sequences", "consumed_tokens", "trained_tokens"):
        assert [step[key] for step in found] == pytest.approx([step[key] for step in wanted], rel=1e-4), key
    assert found[0].keys() == wanted[0].keys()
    assert read_log(copy.output, CONSUMPTION) == read_log(ours.output, CONSUMPTION)
    evaluated, expected = (read_log(run.output, VALIDATION) for run in (copy, ours))
    assert [line["iteration"] for line in evaluated] == [line["iteration"] for line in expected]
    for line, other in zip(evaluated, expected, strict=True):
        assert line["loss"] == pytest.approx(other["loss"], abs=1e-4)


def tags(copy: Training) -> set[str]:
    events = EventAccumulator(str(copy.output / "tensorboard"))
    events.Reload()
    return set(events.Tags()["scalars"])


def test_it_trains_as_our_own_trainer(ours: Training, theirs: Training) -> None:
    check_alike(theirs, ours)
    assert ours.losses()[-1] < ours.losses()[0] - 0.5, "learns"
    assert tags(theirs) == tags(ours)
    names = {"finished.json", "log.jsonl", "timelines.json", "phases.json", "events.jsonl"}
    assert names <= {path.name for path in theirs.output.iterdir()}
    saved = [event["iteration"] for event in History(theirs.output).events("saved")]
    assert saved == [6, 12, 18, 20]
    assert json.loads((theirs.output / "finished.json").read_text())["iteration"] == STEPS


def test_what_is_exported_computes_the_same(theirs: Training, tmp_path: Path) -> None:
    code, printed = start(
        evaluate_with_transformers, theirs.folder, tmp_path / "out", outputs=tmp_path / "transformers"
    ).wait()
    assert code == 0, printed
    (told,) = re.findall("losses: (.*)", printed)
    assert read_log(theirs.output, VALIDATION)[-1]["loss"] == pytest.approx(json.loads(told), abs=1e-5)


def killed(copy: Training) -> None:
    started = copy.start()
    started.wait_for(lambda: History(copy.output).events("saved"))
    started.kill()


def terminated(copy: Training) -> None:
    started = copy.start()
    started.wait_for(lambda: read_log(copy.output))
    started.terminate()
    code, printed = started.wait()
    assert code == 0, printed
    stopped = json.loads((copy.output / "continue.json").read_text())
    assert stopped["reason"] == "SIGTERM" and 1 <= stopped["iteration"] < STEPS


def out_of_time(copy: Training) -> None:
    copy.change(operation={"time_limit_seconds": 0.01})
    assert "time limit: saved iteration 1; the same command continues" in copy.train()
    assert json.loads((copy.output / "continue.json").read_text())["reason"] == "time limit"
    copy.change(operation={"time_limit_seconds": None})


@pytest.mark.parametrize(
    ("parallel", "interrupt"),
    [
        ({"tensor": 2}, killed),
        ({"pipeline": 2}, terminated),
        ({"data": 2}, out_of_time),
    ],
    ids=["tensor, killed", "pipeline, SIGTERM", "data, time limit"],
)
def test_on_two_processes_it_resumes_exactly(
    ours: Training, tmp_path: Path, parallel: dict, interrupt: Callable[[Training], None]
) -> None:
    copy = ours.copied(tmp_path / "run", parallel=parallel, **MEGATRON_LM)
    interrupt(copy)
    assert "resumed at iteration" in copy.train()
    check_alike(copy, ours)
    assert (copy.output / "finished.json").exists() and not (copy.output / "continue.json").exists()


def test_a_phase_goes_on_where_the_last_one_ended(ours: Training, theirs: Training, tmp_path: Path) -> None:
    """With another mixture, batch and rate: no sequence is repeated or left out, as with our own trainer."""
    changes = {"on_change": "new_phase"}
    changes |= {"training": {"iterations": 24, "learning_rate": 2e-3, "global_batch_size_sequences": 4}}
    copies = []
    for run, name in ((ours, "ours"), (theirs, "theirs")):
        copy = copied_with_output(run, tmp_path / name, **changes)
        mixture = json.loads((copy.folder / "mixture" / "probabilities.json").read_text())["probabilities"]
        copy.mix(dict(zip(mixture, (0.2, 0.3, 0.5), strict=True)))
        copy.train()
        copies.append(copy)
    assert len(History(copies[1].output).phases()) == 2
    check_alike(copies[1], copies[0])


def test_what_it_cannot_do_is_refused(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", **MEGATRON_LM)
    code, printed = start(program, "train.py", str(copy.folder), outputs=tmp_path / "other").wait()
    assert code == 2 and "train.py was started, and the run says trainer: megatron_lm" in printed
    copy.change(parallel={"tensor": 2, "sequence": True})
    assert "parallel.sequence: true with trainer: megatron_lm needs Transformer Engine" in copy.refused()


def test_a_finished_one_has_nothing_left_to_do(theirs: Training, tmp_path: Path) -> None:
    copy = copied_with_output(theirs, tmp_path / "run")
    (copy.output / "finished.json").unlink()
    copy.train()
    assert json.loads((copy.output / "finished.json").read_text())["iteration"] == STEPS
    assert len(copy.losses()) == STEPS


def test_a_begun_run_keeps_its_trainer(theirs: Training, tmp_path: Path) -> None:
    copy = copied_with_output(theirs, tmp_path / "run")
    copy.run["megatron_lm"] = {"arguments": {}}
    copy.change(trainer="pretrain_llama", on_change="new_phase")
    printed = copy.refused()
    assert "no new phase can begin where trainer changed" in printed
    assert "trainer: megatron_lm -> pretrain_llama" in printed


def test_what_its_parser_refuses_is_a_message(training: Training, tmp_path: Path) -> None:
    """A run.yaml that was edited in its folder, where no workflow has looked at it."""
    copy = training.copied(tmp_path / "run", **MEGATRON_LM | {"megatron_lm": {"arguments": {"lr": 1}}})
    assert "lr: 1.0, and by the rest of the run 0.003: the run fixes it" in copy.refused()
    copy.run["megatron_lm"] = {"arguments": {"recompute-granularity": "whole"}}
    copy.change()
    assert "Megatron-LM does not take its arguments" in copy.refused()
