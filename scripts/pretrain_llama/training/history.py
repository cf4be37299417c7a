"""What a training remembers of its own past, beside its checkpoints: all small JSON files in output/.

    phases.json     the phases: stretches trained on one mixture, data and hyperparameters
    rewinds.json    the rewinds: from which checkpoint the training went on, and which sequences it left out
    events.jsonl    a line for each start, resumption, phase, jump of the learning rate, checkpoint, damage, skip,
                    rewind, and end, and for the validation sets, first and where others came

Imports no torch.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pretrain_llama.files import read_json, write_json
from pretrain_llama.training.log_file import append_line, read_log
from pretrain_llama.training.phases import Phase

EVENTS = "events.jsonl"


class History:
    """The memory of an output folder; only the first process of a training changes it."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def note(self, event: str, **details: Any) -> None:
        """Add a line to events.jsonl."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event} | details
        append_line(self._output / EVENTS, line)

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the noted events of a kind."""
        return [line for line in read_log(self._output, EVENTS) if line["event"] == event]

    def note_validation(self, sets: dict[str, str]) -> list[str]:
        """Remember the validation sets, hashes of their .idx by name; return those that are not as they were noted."""
        noted = self.events("validation")
        before = noted[-1]["sets"] if noted else sets
        changed = sorted(name for name in before | sets if before.get(name) != sets.get(name))
        if changed or not noted:
            self.note("validation", sets=sets, changed=changed)
        return changed

    def phases(self) -> list[Phase]:
        """Return the phases up to now."""
        path = self._output / "phases.json"
        return [Phase(**phase) for phase in read_json(path)] if path.exists() else []

    def write_phases(self, phases: list[Phase]) -> None:
        """Replace the phases."""
        write_json(self._output / "phases.json", [asdict(phase) for phase in phases])

    def add_rewind(self, iteration: int, consumed: int, drawn: dict[str, int]) -> None:
        """Remember that the training goes on from a checkpoint's iteration, and what it then has left behind."""
        write_json(
            self._output / "rewinds.json",
            [*self.rewinds(), {"iteration": iteration, "consumed": consumed, "drawn": drawn}],
        )

    def position(self, manifest: dict[str, Any]) -> tuple[int, dict[str, int]]:
        """Return how many sequences, and of which shards, a training that resumes from a checkpoint leaves behind."""
        places = [rewind for rewind in self.rewinds() if rewind["iteration"] == manifest["iteration"]]
        furthest = max([manifest, *places], key=lambda place: place["consumed"])
        return furthest["consumed"], furthest["drawn"]

    def rewinds(self) -> list[dict[str, Any]]:
        """Return the rewinds since the start of the run."""
        path = self._output / "rewinds.json"
        return read_json(path) if path.exists() else []
