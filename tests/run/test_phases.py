"""The phases of a training: what each trains on, what a new one may change, how often it passes over a shard."""

from pathlib import Path
from typing import Any

import pytest

from pretrain_llama.errors import ConfigError, OperatorError
from pretrain_llama.run.phases import (
    Phase,
    check_epochs,
    check_new_phase,
    continued,
    described,
    epochs_at_end,
    trained_after,
)

A = "en_books_tales_split_0000_text_document_dc=1_sc=1_tc=100"
B = "en_books_poems_split_0000_text_document_dc=1_sc=1_tc=400"
C = "en_web_crawl_split_0000_text_document_dc=1_sc=1_tc=50"
PLACE = Path("run")


def identity(mixture: dict[str, float], batch: int, **training: Any) -> dict[str, Any]:
    """The identity of a run that draws batches of so many sequences, of 10 tokens each."""
    sizes = {"global_batch_size_sequences": batch, "batch_size_rampup": None, "sequence_length_tokens": 10}
    return {
        "training": sizes | {"seed": 1, "precision": "bf16"} | training,
        "tokenizer": "toy.01234567",
        "checkpoint": "of a llama",
        "mixture": mixture,
        "data": {name: {"idx": f"of {name}", "bin": None} for name in mixture},
    }


FIRST = Phase(0, 0, {}, identity({A: 0.75, B: 0.25}, 4))
SECOND = Phase(5, 20, {A: 15, B: 5}, identity({A: 0.2, C: 0.6}, 8))  # as of a list that lost rows: its sum is not 1


@pytest.mark.parametrize(("iterations", "trained"), [(0, 0), (3, 12), (5, 20), (6, 28), (8, 44)])
def test_each_phase_trains_on_batches_of_its_own(iterations: int, trained: int) -> None:
    assert trained_after([FIRST, SECOND], iterations) == trained


def test_epochs_count_what_the_phases_before_drew() -> None:
    """After 5 iterations of 4 sequences, 3 of 8: 24 sequences, of 10 tokens each."""
    assert epochs_at_end([FIRST, SECOND], 8) == pytest.approx({A: (15 + 6) * 10 / 100, C: 18 * 10 / 50})


def test_the_epochs_are_told_with_the_most_repeated_first() -> None:
    told = f"epochs of the shards at its end: 3.6 of {C}, 2.1 of {A}, 0.5 of {B}; at least 0.5"
    assert described({A: 2.1, B: 0.5, C: 3.6}) == told


def test_a_cap_leaves_room_for_one_sequence() -> None:
    check_epochs({A: 2.1, C: 3.6}, {A: 2.0, B: 1.0, C: 3.6}, 10, PLACE)
    with pytest.raises(ConfigError) as caught:
        check_epochs({A: 2.11, B: 0.5, C: 3.6}, {A: 2.0, B: 0.4, C: 1.2}, 10, PLACE)
    assert "3 shards would be drawn more often than max_epochs" in str(caught.value)
    worst_first = [f"{C}: 3.6 epochs, 1.2 allowed", f"{B}: 0.5 epochs, 0.4 allowed", f"{A}: 2.11 epochs, 2 allowed"]
    assert "\n    ".join(worst_first) in str(caught.value)


def test_a_training_goes_on_in_its_phase_and_forgets_those_after_where_it_resumes() -> None:
    assert continued([], FIRST) == [FIRST]
    assert continued([FIRST], Phase(7, 28, {A: 21, B: 7}, FIRST.identity)) == [FIRST], "the same identity"
    assert continued([FIRST], SECOND) == [FIRST, SECOND]
    rewound = Phase(5, 28, {A: 17, B: 5, C: 6}, SECOND.identity)
    assert continued([FIRST, SECOND], rewound) == [FIRST, SECOND], "what a rewind left out is no phase"
    earlier = Phase(3, 12, {A: 9, B: 3}, SECOND.identity)
    assert continued([FIRST, SECOND], earlier) == [FIRST, earlier], "its checkpoints after iteration 3 were damaged"
    third = Phase(5, 20, {A: 15, B: 5}, identity({A: 1.0}, 8))
    assert continued([FIRST, SECOND], third) == [FIRST, third], "nothing was trained in the second"
    assert continued([FIRST], Phase(0, 0, {}, SECOND.identity)) == [Phase(0, 0, {}, SECOND.identity)]


@pytest.mark.parametrize("changed", [{"sequence_length_tokens": 20}, {"seed": 2}, {"precision": "fp32"}])
def test_what_the_optimizer_and_the_drawn_sequences_rest_on_is_fixed(changed: dict[str, Any]) -> None:
    check_new_phase([FIRST], SECOND.identity, PLACE)
    with pytest.raises(OperatorError, match=f"no new phase can begin where {next(iter(changed))} changed"):
        check_new_phase([FIRST], identity({A: 1.0}, 4, **changed), PLACE)


def test_a_shard_that_was_dropped_comes_back_as_it_was_or_not_at_all() -> None:
    """B was in the first phase, and not in the second."""
    phases = [FIRST, SECOND]
    check_new_phase(phases, identity({A: 0.5, B: 0.5}, 8), PLACE)
    other = identity({A: 0.5, B: 0.5}, 8)
    other["data"][B] = {"idx": "of another text", "bin": None}
    with pytest.raises(OperatorError, match=f"the content of {B} changed"):
        check_new_phase(phases, other, PLACE)
    with pytest.raises(OperatorError, match=f"the counts of {B} changed"):
        check_new_phase(phases, identity({A: 0.5, B.replace("tc=400", "tc=401"): 0.5}, 8), PLACE)
