"""The same training however it is cut: parallel sizes, micro batches, recomputation, kinds of optimizer."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from pretrain_llama.run.log_file import SAMPLES, VALIDATION, read_log
from sampled import sample
from trainings import Training, start, train

CLOSE = 1e-6  # nats a token, between layouts in fp32
SAMPLED: dict[str, list[list[str]]] = {}  # by the first layout that is tried


@pytest.mark.parametrize(
    "parallel",
    [
        {"tensor": 2},
        {"pipeline": 2},
        {"data": 2},
        {"tensor": 2, "sequence": True},
        {"tensor": 2, "pipeline": 2},
        {"data": 2, "distributed_optimizer": True},
        {"tensor": 2, "data": 2, "sequence": True, "distributed_optimizer": True, "recompute": "full"},
        {"recompute": "selective"},
        {"recompute": "full"},
    ],
    ids=str,
)
def test_any_layout_gives_the_losses_of_one_process(training: Training, tmp_path: Path, parallel: dict) -> None:
    copy = training.copied(tmp_path / "run", parallel=parallel)
    sample(copy)
    copy.train()
    assert training.losses()[-1] < training.losses()[0] - 0.3, "it learns, or the comparison says nothing"
    assert copy.losses() == pytest.approx(training.losses(), abs=CLOSE)
    norms = [[record["gradient_norm"] for record in read_log(run.output)] for run in (copy, training)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    evaluated = [read_log(run.output, VALIDATION) for run in (copy, training)]
    assert [record["iteration"] for record in evaluated[0]] == [0, 4, 8]
    for own, straight in zip(*evaluated, strict=True):
        assert own["loss"] == pytest.approx(straight["loss"], abs=CLOSE)
    texts = [record["texts"] for record in read_log(copy.output, SAMPLES)]
    assert SAMPLED.setdefault("texts", texts) == texts, "the first layout's, which transformers' are compared with"
    assert len(texts) == 3 and texts[0] != texts[2]


def test_bf16_learns_alike_on_either_optimizer(training: Training, tmp_path: Path) -> None:
    losses = []
    for name, parallel in {"plain": {}, "cut": {"data": 2, "distributed_optimizer": True}}.items():
        copy = training.copied(tmp_path / name, training={"precision": "bf16"}, parallel=parallel)
        copy.train()
        losses.append(copy.losses())
    assert losses[0] == pytest.approx(losses[1], abs=2e-2)
    assert losses[0] == pytest.approx(training.losses(), abs=5e-2)


def test_micro_batches_do_not_change_the_losses(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", training={"micro_batch_size_sequences": 8})
    copy.train()
    assert copy.losses() == pytest.approx(training.losses(), abs=CLOSE)


def test_the_batch_grows_and_the_rate_warms_up_holds_and_falls(training: Training, tmp_path: Path) -> None:
    rampup = {"start_sequences": 4, "increment_sequences": 2, "length_sequences": 16}
    schedule = {"schedule": "wsd", "warmup_iterations": 4, "decay_iterations": 3, "batch_size_rampup": rampup}
    copy = training.copied(tmp_path / "run", training=schedule)
    copy.train()
    log = read_log(copy.output)
    assert [record["batch_sequences"] for record in log] == [4, 4, 6, 6, 8, 8, 8, 8]
    assert log[-1]["consumed_tokens"] == 52 * 32
    rates = [record["learning_rate"] for record in log]
    rising = [3e-3 * done / 20 for done in (0, 4, 8, 14)]
    assert rates[:6] == pytest.approx([*rising, 3e-3, 3e-3]), "by sequences, not by steps"
    falling = [3e-4 + 2.7e-3 * (1 - math.sqrt(done / 24)) for done in (8, 16)]
    assert rates[6:] == pytest.approx(falling)


def test_a_constant_schedule_stays(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", training={"schedule": "constant", "iterations": 4})
    copy.train()
    assert [record["learning_rate"] for record in read_log(copy.output)] == [0, 3e-3, 3e-3, 3e-3]


def train_watching_random_states(folder: Path) -> None:
    """Train, and print how many states all random number generators had at the steps."""
    from pretrain_llama.training.state import TrainingState

    advance, seen = TrainingState.advance, []

    def watch(self: TrainingState, sequences: int) -> None:
        seen.append((random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()))
        advance(self, sequences)

    TrainingState.advance = watch
    train(folder)
    print(f"{len(set(seen))} states at {len(seen)} steps")


def test_training_draws_no_random_numbers(training: Training, tmp_path: Path) -> None:
    """There is no state of random numbers in a checkpoint, since a step takes none."""
    copy = training.copied(tmp_path / "run")
    code, printed = start(train_watching_random_states, copy.folder, outputs=tmp_path / "watched").wait()
    assert code == 0 and "1 states at 8 steps" in printed, printed
