"""Find what a training of a version before 0.4 drew and left out, from its log and its phases."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pretrain_llama.run.log_file import read_log
from pretrain_llama.run.phases import Phase, trained_after
from pretrain_llama.run.timelines import Position
from pretrain_llama.training.data.blend import blend_indices


def left_out(output: Path, phases: Sequence[Phase], iteration: int, position: Position) -> dict[str, int] | None:
    """Return what was drawn up to a position and left out, by shard: what no step of the log was taken on.

    Args:
        output: of the training.
        phases: up to the position.
        iteration: optimizer steps before it.
        position: whose `left_out` is not known.

    Returns:
        sequences by counted name; None where the log lacks steps, or the phases do not explain what was drawn.
    """
    steps = [step for step in read_log(output) if step["iteration"] <= iteration]
    if sum(step["batch_sequences"] for step in steps) != trained_after(list(phases), iteration):
        return None
    is_taken = _taken(steps, position.consumed, phases[-1].identity["training"]["sequence_length_tokens"])
    found: Counter[str] = Counter()
    ends = [(phase.consumed, phase.drawn) for phase in phases[1:]] + [(position.consumed, position.drawn)]
    for phase, (end, drawn) in zip(phases, ends, strict=True):
        mixture = phase.identity["mixture"]
        probabilities = [probability / sum(mixture.values()) for probability in mixture.values()]
        shard_of, _ = blend_indices(probabilities, end - phase.consumed)
        of_phase, not_taken = (
            Counter(dict(zip(mixture, np.bincount(shards, minlength=len(mixture)).tolist(), strict=True)))
            for shards in (shard_of, shard_of[~is_taken[phase.consumed : end]])
        )
        if of_phase + Counter(phase.drawn) != +Counter(drawn):
            return None
        found += not_taken
    return dict(found)


def _taken(steps: Sequence[dict[str, Any]], consumed: int, length: int) -> np.ndarray:
    """Return of each of the first sequences whether a step trained on it: (consumed,) bool; length: tokens of one."""
    is_taken = np.zeros(consumed, bool)
    skipped = [0, *(step["skipped_steps"] for step in steps)]
    for step, (before, after) in zip(steps, pairwise(skipped), strict=True):
        stop = step["consumed_tokens"] // length
        is_taken[stop - step["batch_sequences"] : stop] = before == after
    return is_taken
