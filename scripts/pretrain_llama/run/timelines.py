"""The timelines of a training: which steps led to each checkpoint, and where in the data it continues.

A training may go back many times: to its newest checkpoint when it was killed, to an older one where that is damaged or
gone, and to leave out what led to a spike. It then repeats iterations, on other sequences or in another phase. So each
start and each rewind begins a timeline, at a checkpoint of another one, and every checkpoint names the timeline that it
was written on. A timeline and an iteration name one checkpoint for good; nothing is looked up by an iteration alone.
Other trainings count their timelines alike: a random id tells a timeline from theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Position:
    """A position in a training's data, in sequences.

    Attributes:
        consumed: taken from the data.
        drawn: of them, by counted name, those of each shard.
        left_out: of those, the ones that no step was taken on: of skipped steps, and of rewinds. None where a version
            that did not record them wrote this.
    """

    consumed: int
    drawn: dict[str, int]
    left_out: dict[str, int] | None = None

    def leaving_out(self, consumed: int, drawn: dict[str, int]) -> "Position":
        """Return a later position, with what lies between left out."""
        left_out = dict(self.left_out or {})
        for name, count in drawn.items():
            left_out[name] = left_out.get(name, 0) + count - self.drawn.get(name, 0)
        return Position(consumed, drawn, {name: count for name, count in left_out.items() if count})


@dataclass(frozen=True)
class Timeline:
    """A stretch of a training without a break, which begins with a start or a rewind.

    Attributes:
        parent: number of the timeline that it goes on from; None begins with the pretrained weights.
        iteration: optimizer steps before it, of the checkpoint that it goes on from.
        phases: numbers of its phases, those before it, too.
        position: where a rewind went on; None for a start, which goes on where its checkpoint or its parent says.
        id: a random one, that no other timeline has, of this or another training; None of an earlier version.
    """

    parent: int | None
    iteration: int
    phases: tuple[int, ...]
    position: Position | None = None
    id: str | None = None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Timeline":
        """Return the object whose `asdict` was written as JSON."""
        position = value["position"] and Position(**value["position"])
        return cls(value["parent"], value["iteration"], tuple(value["phases"]), position, value.get("id"))


def latest_rewind(timelines: Sequence[Timeline], number: int, iteration: int) -> int:
    """Return the timeline of the last rewind to a checkpoint; the checkpoint's own where none went back to it.

    Args:
        timelines: of the training.
        number: of the timeline that the checkpoint was written on.
        iteration: of the checkpoint.
    """
    rewound = [n for n, t in enumerate(timelines) if t.position and (t.parent, t.iteration) == (number, iteration)]
    return latest_rewind(timelines, rewound[-1], iteration) if rewound else number


def shared_until(timelines: Sequence[Timeline], number: int, iteration: int, other: int) -> int:
    """Return the last iteration, up to a given one, that a timeline has in common with another.

    It is the given one where that timeline, up to there, is the other's past.
    """
    own, others = _ancestry(timelines, number), _ancestry(timelines, other)
    shared = 0
    while shared < min(len(own), len(others)) and own[shared] == others[shared]:
        shared += 1
    if not shared:
        return 0
    left_at = [timelines[line[shared]].iteration for line in (own, others) if len(line) > shared]
    return min([iteration, *left_at])


def _ancestry(timelines: Sequence[Timeline], number: int | None) -> list[int]:
    """Return the numbers of a timeline and of those that it comes from, the first one first."""
    found: list[int] = []
    while number is not None:
        found.insert(0, number)
        number = timelines[number].parent
    return found
