"""The history of a training, as small JSON files in output/ beside its checkpoints.

    timelines.json  each start and each rewind: its random id, which timeline it goes on from, at which iteration, with
                    which phases, and, of a rewind, which sequences it left out
    phases.json     the phases that were begun: stretches trained on one mixture, data and hyperparameters
    events.jsonl    a line for each start, resumption, phase, jump of the learning rate, checkpoint, damage, skip,
                    rewind, and end, and for the validation sets, first and where others came

The first two only grow: what a timeline or a checkpoint names by its number is there for ever.
"""

import secrets
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pretrain_llama import stores
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import write_json
from pretrain_llama.run import earlier
from pretrain_llama.run.log_file import append_line, read_log
from pretrain_llama.run.packages import installed
from pretrain_llama.run.phases import Phase
from pretrain_llama.run.timelines import Position, Timeline

TIMELINES, PHASES, EVENTS = "timelines.json", "phases.json", "events.jsonl"


class History:
    """The history in an output folder; only the first process of a training changes it."""

    def __init__(self, output: str | Path) -> None:
        """Remember; output: a folder, or its location in a store, which is only read."""
        self._output = output

    def note(self, event: str, **details: Any) -> None:
        """Add a line to events.jsonl."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event} | details
        append_line(Path(self._output) / EVENTS, line)

    def note_start(
        self, event: str, iteration: int, seconds: dict[str, float], processes: int, computing: dict[str, str]
    ) -> None:
        """Note that a training began or resumed at an iteration, on what, and how it computes.

        seconds: of its start-up, by stage.
        """
        about = {"seconds": seconds, "processes": processes, "computing": computing, "packages": installed()}
        self.note(event, iteration=iteration, **about)

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the noted events of a kind."""
        return [line for line in read_log(self._output, EVENTS) if line["event"] == event]

    def note_validation(self, sets: dict[str, str]) -> list[str]:
        """Remember the validation sets, as hashes of their .idx by name; return those that changed."""
        noted = self.events("validation")
        before = noted[-1]["sets"] if noted else sets
        changed = sorted(name for name in before | sets if before.get(name) != sets.get(name))
        if changed or not noted:
            self.note("validation", sets=sets, changed=changed)
        return changed

    def timelines(self) -> list[Timeline]:
        """Return the timelines up to now; the last one is the present.

        Raises:
            OperatorError: the files do not belong together.
        """
        return self._timelines(self.begun_phases())

    def has_timelines(self) -> bool:
        """Say whether there is a timelines.json, which versions before 0.4 did not write."""
        return bool(self._read(TIMELINES))

    def _timelines(self, begun: Sequence[Phase]) -> list[Timeline]:
        if recorded := self._read(TIMELINES):
            found = [Timeline.from_json(timeline) for timeline in recorded]
            if any(number >= len(begun) for timeline in found for number in timeline.phases):
                raise OperatorError(
                    "phases.json lacks phases that timelines.json names",
                    where=self._output,
                    action="bring back the two as they were together",
                )
            return found
        if begun:
            return earlier.timelines(begun, self._read("rewinds.json"), read_log(self._output, EVENTS))
        return []

    def begun_phases(self) -> list[Phase]:
        """Return all phases that were ever begun, abandoned ones too."""
        return [Phase(**phase) for phase in self._read(PHASES)]

    def _read(self, name: str) -> list[dict[str, Any]]:
        return stores.find_json(f"{self._output}/{name}") or []

    def phases(self, timeline: int = -1) -> list[Phase]:
        """Return the phases of a timeline, by its number, or of the present; none where nothing was begun."""
        begun = self.begun_phases()
        timelines = self._timelines(begun)
        return [begun[number] for number in timelines[timeline].phases] if timelines else []

    def begin_timeline(
        self, parent: int | None, iteration: int, phases: Sequence[Phase], position: Position | None = None
    ) -> dict[str, Any]:
        """Record a new timeline, before it trains anything; see `Timeline`.

        Args:
            parent: number of the timeline that it goes on from.
            iteration: optimizer steps before it.
            phases: of it, and of what it goes on from.
            position: of a rewind.

        Returns:
            what the manifests of its checkpoints say of it: `timeline`, its number, and `timeline_id`.
        """
        timelines, known = self.timelines(), self.begun_phases()
        begun = [*known, *(phase for phase in phases if phase not in known)]
        if begun != known:
            write_json(f"{self._output}/{PHASES}", [asdict(phase) for phase in begun])
        own = Timeline(parent, iteration, tuple(map(begun.index, phases)), position, secrets.token_hex(8))
        write_json(f"{self._output}/{TIMELINES}", [asdict(timeline) for timeline in [*timelines, own]])
        return {"timeline": len(timelines), "timeline_id": own.id}

    def rewinds(self) -> int:
        """Return the number of rewinds since the start of the run."""
        return sum(timeline.position is not None for timeline in self.timelines())
