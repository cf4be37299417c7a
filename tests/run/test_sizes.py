"""The sizes of a run: what fits, and how many sequences it comes to."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.configuration import validate
from pretrain_llama.errors import ConfigError
from pretrain_llama.run.sizes import (
    batch_size,
    batch_sizes,
    check_sizes,
    process_count,
    sequences_after,
    training_sequences,
)
from trainings import RUN

RAMPUP = {"start_sequences": 4, "increment_sequences": 2, "length_sequences": 16}


def run_with(**changes: dict[str, Any]) -> dict[str, Any]:
    run = deepcopy(RUN)
    for section, values in changes.items():
        run[section] |= values
    return validate(run, "run", "run.yaml")


def check(llama: Path, vocab_size: int = 400, **changes: dict[str, Any]) -> None:
    check_sizes(run_with(**changes), read_architecture(llama), vocab_size, "run.yaml")


def test_what_fits_passes(llama: Path) -> None:
    check(llama)
    check(llama, parallel={"tensor": 2, "pipeline": 2, "data": 4, "sequence": True})
    check(llama, training={"batch_size_rampup": RAMPUP})
    check(llama, training={"schedule": "wsd", "decay_iterations": 7})
    assert process_count(run_with(parallel={"tensor": 2, "pipeline": 2, "data": 4, "sequence": True})) == 16


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"parallel": {"tensor": 3}}, "8 attention heads cannot be cut into 3"),
        ({"parallel": {"pipeline": 4}}, "2 layers cannot be cut into 4"),
        ({"parallel": {"sequence": True}}, "and tensor is 1"),
        (
            {"parallel": {"tensor": 2, "sequence": True}, "training": {"sequence_length_tokens": 31}},
            "sequence_length_tokens 31 cannot be cut into 2",
        ),
        ({"parallel": {"data": 3}}, "global_batch_size_sequences 8 is no multiple of 6"),
        ({"training": {"micro_batch_size_sequences": 3}}, "global_batch_size_sequences 8 is no multiple of 3"),
        ({"training": {"batch_size_rampup": RAMPUP | {"start_sequences": 3}}}, "a batch of 3 sequences does not grow"),
        ({"training": {"batch_size_rampup": RAMPUP | {"start_sequences": 8}}}, "a batch of 8 sequences does not grow"),
        (
            {"training": {"batch_size_rampup": RAMPUP | {"start_sequences": 5, "increment_sequences": 3}}},
            "batch_size_rampup.start_sequences 5 is no multiple of 2",
        ),
        ({"training": {"sequence_length_tokens": 1024}}, "is over the model's 512 positions"),
        ({"training": {"min_learning_rate": 1.0}}, "min_learning_rate 1.0 is over learning_rate 0.003"),
        ({"training": {"schedule": "wsd"}}, "schedule 'wsd' needs decay_iterations"),
        ({"training": {"decay_iterations": 2}}, "schedule 'cosine' has no decay_iterations"),
        ({"training": {"warmup_iterations": 8}}, "8 iterations do not hold 8 of warm-up, with some left at full rate"),
        ({"training": {"schedule": "wsd", "decay_iterations": 8}}, "do not hold 1 of warm-up and 8 of decay"),
    ],
)
def test_what_does_not_fit_is_refused(llama: Path, changes: dict[str, dict[str, Any]], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check(llama, **changes)
    assert problem in str(refused.value)


def test_a_tokenizer_larger_than_the_embedding_is_refused(llama: Path) -> None:
    with pytest.raises(ConfigError, match="'toy' has 401 ids, checkpoint 'toy-llama' embeds 400"):
        check(llama, vocab_size=401)


def test_a_run_comes_to_its_sequences() -> None:
    assert training_sequences(run_with()) == 64
    run = run_with(training={"batch_size_rampup": RAMPUP, "iterations": 100})
    sizes, trained = [], 0
    for _ in range(100):
        sizes.append(batch_size(run["training"], trained))
        trained += sizes[-1]
    assert sizes[:7] == [4, 4, 6, 6, 8, 8, 8]
    assert trained == training_sequences(run)
    assert [sequences_after(run["training"], iterations) for iterations in (0, 1, 3, 6)] == [0, 4, 14, 36]


def test_the_batch_grows_as_megatron_cores_calculator_has_it() -> None:
    from megatron.core.num_microbatches_calculator import StepBatchsizeNumMicroBatchesCalculator

    for length in (200, 203, 4):  # the last is shorter than its steps: some are left out
        rampup = {"start_sequences": 4, "increment_sequences": 4, "length_sequences": length}
        training = {"global_batch_size_sequences": 24, "batch_size_rampup": rampup}
        schedule = " ".join(f"{trained}:{size}" for trained, size in batch_sizes(training).items())
        theirs = StepBatchsizeNumMicroBatchesCalculator(1, 1, False, 0, schedule)
        for trained in range(300):
            theirs.update(trained, consistency_check=False)
            assert batch_size(training, trained) == theirs.get_current_global_batch_size()
    assert batch_sizes({"global_batch_size_sequences": 24, "batch_size_rampup": None}) == {0: 24}
