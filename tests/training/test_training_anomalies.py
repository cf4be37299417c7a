"""Losses that are no number, and spikes: the step is left out, the training goes back, or it stops."""

import math
import random
from pathlib import Path

import pytest

from pretrain_llama.files import read_json
from pretrain_llama.run.history import History
from pretrain_llama.run.log_file import read_log
from pretrain_llama.run.timelines import Timeline
from pretrain_llama.training.anomalies import NOT_FINITE, SPIKE, WINDOW, AnomalyDetector
from spoilt import POISONED, flip_a_bit, train_on_poison
from trainings import Training, start


def train_poisoned(copy: Training) -> tuple[int, str]:
    return start(train_on_poison, copy.folder, outputs=copy.folder.with_name("poisoned")).wait()


def test_a_spike_is_far_from_the_last_losses() -> None:
    chance, detector = random.Random(0), AnomalyDetector(deviations=6)
    for _ in range(WINDOW // 2 - 1):
        assert detector.judge(chance.gauss(3, 0.1), chance.gauss(1, 0.05)) is None
    assert detector.judge(5.0, 1.0) is None, "too few to compare with"
    for _ in range(WINDOW):
        assert detector.judge(chance.gauss(3, 0.1), chance.gauss(1, 0.05)) is None
    later = AnomalyDetector(deviations=6)
    later.restore(detector.state())
    for judge in (detector.judge, later.judge):
        assert judge(3.4, 1.1) is None
        assert judge(4.0, 1.0) == SPIKE, "the loss"
        assert judge(3.0, 2.0) == SPIKE, "the gradient"
        assert judge(1.0, 1.0) is None, "a fall is welcome"
        assert judge(math.nan, 1.0) == NOT_FINITE and judge(3.0, math.inf) == NOT_FINITE
    for _ in range(20):
        kind = detector.judge(4.0, 1.0)
    assert kind is None, "a new level becomes normal"


def test_it_stops_and_keeps_what_it_has(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run")
    code, printed = train_poisoned(copy)
    assert code == 2 and "not finite at iteration 6: loss nan" in printed, printed
    assert "lower the learning rate, or resume with on_not_finite" in printed
    assert copy.losses() == training.losses()[:5]
    assert not (copy.output / "finished.json").exists()


def test_it_skips_the_step_and_counts_it(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", operation={"on_not_finite": "skip"})
    code, printed = train_poisoned(copy)
    assert code == 0 and "WARNING: skip: not finite at iteration 6: loss nan" in printed, printed
    log = read_log(copy.output)
    losses = [record["loss"] for record in log]
    assert losses[:5] == training.losses()[:5] and math.isnan(losses[5])
    assert losses[6] == pytest.approx(training.losses()[6], abs=0.2) and math.isfinite(losses[7])
    assert [record["skipped_steps"] for record in log] == [0, 0, 0, 0, 0, 1, 1, 1]
    assert read_json(copy.output / "checkpoints" / "iter_0000008" / "manifest.json")["skipped_steps"] == 1


def test_it_rewinds_and_leaves_out_what_led_there(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", operation={"on_not_finite": "rewind"})
    code, printed = train_poisoned(copy)
    assert code == 0 and "WARNING: rewind: not finite at iteration 6: loss nan" in printed, printed
    log = read_log(copy.output)
    assert len(copy.losses()) == 8 and log[-1]["rewinds"] == 1
    assert copy.losses()[:3] == training.losses()[:3], "back to the checkpoint of iteration 3"
    assert log[3]["consumed_tokens"] == (48 + 8) * 32, "on with the sequences after those of iteration 6"
    start_, rewind = History(copy.output).timelines()
    assert start_ == Timeline(None, 0, (0,), id=start_.id)
    assert (rewind.parent, rewind.iteration, rewind.phases) == (0, 3, (0,))
    assert start_.id and rewind.id and start_.id != rewind.id
    assert rewind.position and rewind.position.consumed == sum(rewind.position.drawn.values()) == 48
    assert sum(rewind.position.left_out.values()) == 24, "of three steps"
    assert log[-1]["consumed_tokens"] - log[-1]["trained_tokens"] == 24 * 32
    assert len(list((copy.output / "index_cache").iterdir())) == 1, "the index before, which was too short, is gone"

    resumed = training.copied(tmp_path / "killed", operation={"on_not_finite": "rewind"})
    started = start(train_on_poison, resumed.folder, outputs=tmp_path / "killed.out")
    started.wait_for(lambda: History(resumed.output).rewinds())
    started.kill()
    assert train_poisoned(resumed)[0] == 0
    assert resumed.losses() == copy.losses(), "a kill after the rewind changes nothing"

    parallel = {"data": 2, "distributed_optimizer": True}
    cut = training.copied(tmp_path / "cut", parallel=parallel, operation={"on_not_finite": "rewind"})
    code, printed = start(train_on_poison, cut.folder, outputs=tmp_path / "cut.out", processes=2).wait()
    assert code == 0, printed
    assert cut.losses() == pytest.approx(copy.losses(), abs=1e-6), "weights that were not gathered yet are gone, too"


def test_rewinds_are_counted_since_the_start(training: Training, tmp_path: Path) -> None:
    policy = {"on_not_finite": "rewind", "anomaly_limit": 1}
    copy = training.copied(tmp_path / "run", operation=policy)
    assert train_poisoned(copy)[0] == 0
    copy.change(training={"iterations": 20}, on_change="new_phase")
    code, printed = start(train_on_poison, copy.folder, 8, outputs=tmp_path / "again").wait()
    assert code == 2 and "rewind was done 1 times since the start of the run, which is anomaly_limit" in printed, (
        printed
    )
    copy.change(operation={"anomaly_limit": 2})
    assert start(train_on_poison, copy.folder, 8, outputs=tmp_path / "more").wait()[0] == 0
    assert read_log(copy.output)[-1]["rewinds"] == 2


def train_on_poison_and_rot(folder: Path, newest: str, place: int = POISONED) -> None:
    """Train on poison, and spoil the newest checkpoint before it is gone back to."""
    from pretrain_llama.training.loop import Trainer

    rewind = Trainer._rewind

    def spoiled(self: Trainer, consumed: int) -> None:
        flip_a_bit(folder / "output" / "checkpoints" / newest)
        rewind(self, consumed)

    Trainer._rewind = spoiled
    train_on_poison(folder, place)


def test_it_rewinds_to_a_checkpoint_that_is_whole(training: Training, tmp_path: Path) -> None:
    policy = {"on_not_finite": "rewind", "checkpoint_every_iterations": 2}
    copy = training.copied(tmp_path / "run", operation=policy)
    rot = {"outputs": tmp_path / "rotten"}
    code, printed = start(train_on_poison_and_rot, copy.folder, "iter_0000004", **rot).wait()
    assert code == 0 and "iter_0000004 is damaged and not used" in printed, printed
    assert [timeline.iteration for timeline in History(copy.output).timelines()] == [0, 2] and len(copy.losses()) == 8

    copy.change(training={"iterations": 20}, operation={"checkpoint_every_iterations": 100}, on_change="new_phase")
    code, printed = start(train_on_poison_and_rot, copy.folder, "iter_0000008", 8, **rot).wait()
    assert code == 2 and "the newest whole checkpoint, iter_0000006, is of an earlier phase" in printed, printed
    assert "resumed at iteration 6" in copy.train()
    assert [phase.iteration for phase in History(copy.output).phases()] == [0, 6]


def test_it_does_not_skip_for_ever(training: Training, tmp_path: Path) -> None:
    """A learning rate that no model bears: the weights are no numbers from the second step on."""
    hopeless = {"learning_rate": 1.0e15, "iterations": 20}
    policy = {"on_not_finite": "skip", "anomaly_limit": 3}
    copy = training.copied(tmp_path / "run", training=hopeless, operation=policy)
    code, printed = copy.start().wait()
    assert code == 2 and "skip was done 3 times in a row, which is anomaly_limit" in printed, printed
    history = History(copy.output)
    assert (len(history.events("skip")), len(history.events("stop"))) == (3, 1)
    code, printed = copy.start().wait()
    assert code == 2 and "skip was done 3 times in a row" in printed, "a restart is no fresh attempt"
    assert len(history.events("skip")) <= 2 * 3


def test_a_rewind_needs_a_checkpoint(training: Training, tmp_path: Path) -> None:
    policy = {"on_not_finite": "rewind", "checkpoint_every_iterations": 1000}
    copy = training.copied(tmp_path / "run", operation=policy)
    code, printed = train_poisoned(copy)
    assert code == 2 and "there is no checkpoint yet to go back to" in printed, printed


def test_a_spike_is_handled_as_configured(training: Training, tmp_path: Path) -> None:
    """Any loss above the mean is a spike here, once there are enough to compare with."""
    policy = {"on_spike": "skip", "spike_deviations": 0.001, "anomaly_limit": 100, "checkpoint_every_iterations": 1000}
    policy |= {"evaluate_every_iterations": 1000}
    small = {"iterations": 90, "learning_rate": 1.0e-9, "min_learning_rate": 0}
    copy = training.copied(tmp_path / "run", training=small, operation=policy)
    copy.train()
    skipped = [record["skipped_steps"] for record in read_log(copy.output)]
    assert skipped[WINDOW // 2 - 1] == 0 and 3 <= skipped[-1] <= 26
