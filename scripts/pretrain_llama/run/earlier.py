"""Read the history that versions before 0.4 wrote, as timelines.

They wrote phases.json, the phases of the present alone; rewinds.json, each with the iteration that it went back to and
the position from which it went on; and manifests that name no timeline. All of their checkpoints count as one timeline.
"""

from collections.abc import Sequence
from typing import Any

from pretrain_llama.run.phases import Phase
from pretrain_llama.run.timelines import Position, Timeline


def timelines(
    phases: Sequence[Phase], rewinds: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]
) -> list[Timeline]:
    """Return the timelines of a training: those of its rewinds, and last, that of all its checkpoints.

    A rewind counts for a checkpoint that was written before it. That is known where fewer rewinds than it were noted
    before the checkpoint was saved; any other has a checkpoint that is no longer there, and only counts as a rewind.

    Args:
        phases: of phases.json.
        rewinds: of rewinds.json.
        events: of events.jsonl.
    """
    found, own = [], len(rewinds)
    for number, rewind in enumerate(rewinds):
        iteration = rewind["iteration"]
        known = tuple(n for n, phase in enumerate(phases) if phase.iteration <= iteration)
        position = Position(rewind["consumed"], rewind["drawn"], None)
        is_of_it = number >= _rewinds_before(events, iteration)
        found.append(Timeline(own if is_of_it else None, iteration, known, position))
    return [*found, Timeline(None, 0, tuple(range(len(phases))))]


def _rewinds_before(events: Sequence[dict[str, Any]], iteration: int) -> int:
    """Return how many rewinds were noted before the checkpoint of an iteration was saved, last."""
    saved = [n for n, event in enumerate(events) if event["event"] == "saved" and event["iteration"] == iteration]
    return sum(event["event"] == "rewind" for event in events[: saved[-1] if saved else None])


def first_timeline(found: Sequence[Timeline]) -> int:
    """Return the number of the timeline of the checkpoints that name none."""
    firsts = (number for number, timeline in enumerate(found) if timeline.parent is None and not timeline.position)
    return next(firsts, 0)
