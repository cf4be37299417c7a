"""What a training remembers of its own past, beside its checkpoints: all small JSON files in output/.

    phases.json     the phases: stretches trained on one mixture, data and hyperparameters
    rewinds.json    the rewinds: from which checkpoint the training went on, and which sequences it left out
    events.jsonl    a line for each start, resumption, phase, checkpoint, damage, skip, rewind, and end

Imports no torch.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pretrain_llama.errors import OperatorError
from pretrain_llama.files import read_json, write_json

# Changed, they would leave the state of the optimizer or the count of the drawn sequences without meaning.
FIXED_PARTS = ("tokenizer", "checkpoint")
FIXED_KEYS = ("sequence_length_tokens", "seed", "precision")


@dataclass(frozen=True)
class Phase:
    """A stretch of a training on one identity.

    Attributes:
        iteration: optimizer steps before it.
        consumed: sequences consumed before it.
        drawn: of them, by counted name, those of each shard; shards of earlier phases are there, too.
        identity: of the run folder, see reproduction.py.
    """

    iteration: int
    consumed: int
    drawn: dict[str, int]
    identity: dict[str, Any]


class History:
    """The memory of an output folder; only the first process of a training changes it."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._events = output / "events.jsonl"

    def note(self, event: str, **details: Any) -> None:
        """Add a line to events.jsonl."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event} | details
        with open(self._events, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the noted events of a kind."""
        lines = self._events.read_text(encoding="utf-8").splitlines() if self._events.exists() else []
        return [line for line in map(json.loads, lines) if line["event"] == event]

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
            [*self._rewinds(), {"iteration": iteration, "consumed": consumed, "drawn": drawn}],
        )

    def position(self, manifest: dict[str, Any]) -> tuple[int, dict[str, int]]:
        """Return how many sequences, and of which shards, a training that resumes from a checkpoint leaves behind."""
        places = [rewind for rewind in self._rewinds() if rewind["iteration"] == manifest["iteration"]]
        furthest = max([manifest, *places], key=lambda place: place["consumed"])
        return furthest["consumed"], furthest["drawn"]

    def _rewinds(self) -> list[dict[str, Any]]:
        path = self._output / "rewinds.json"
        return read_json(path) if path.exists() else []


def changed_parts(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the parts in which two identities differ."""
    return [part for part in now if before.get(part) != now[part]]


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return the differences of two identities, a line for each part."""
    changed = changed_parts(before, now)
    return "\n".join(f"    {part}: {_difference(before.get(part), now[part])}" for part in changed)


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
        shown = "; ".join(f"{key}: {before.get(key)} -> {now.get(key)}" for key in keys[:5])
        return shown + (f"; and {len(keys) - 5} more" if len(keys) > 5 else "")
    return f"{before} -> {now}"


def check_new_phase(before: dict[str, Any], now: dict[str, Any], place: Path) -> None:
    """Check that a training can go on under another identity, with nothing repeated or left out.

    Raises:
        OperatorError: what must not change did; names it.
    """
    fixed = [part for part in FIXED_PARTS if before.get(part) != now[part]]
    fixed += [key for key in FIXED_KEYS if before["training"].get(key) != now["training"].get(key)]
    same_names = sorted(before["data"].keys() & now["data"].keys())
    fixed += [f"the content of {name}" for name in same_names if before["data"][name] != now["data"][name]]
    if fixed:
        raise OperatorError(
            f"no new phase can begin where {', '.join(fixed)} changed:\n{differences(before, now)}",
            where=place,
            action="undo that change; or start a new run from this one's exported checkpoint",
        )


def continued(phases: list[Phase], begun: Phase) -> list[Phase]:
    """Return the phases of a training that goes on where and as `begun` says.

    What lies after that is forgotten with the weights that it led to. A phase of the same identity goes on.
    """
    kept = [phase for phase in phases if phase.iteration <= begun.iteration]
    if kept and kept[-1].identity == begun.identity:
        return kept
    return [*(phase for phase in kept if phase.iteration < begun.iteration), begun]
