"""Which run folders, checkpoints and exports were trained on any of some shards: by what their checkpoints drew."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from pretrain_llama.files import read_json
from pretrain_llama.mixture.mixture import FILE
from pretrain_llama.names import parse_counted
from pretrain_llama.run.checkpoint_files import read_manifest


@dataclass
class Trace:
    """What a run has of some shards.

    Attributes:
        folder: of the run.
        holds: it samples or holds some of them.
        drawn: sequences that its checkpoints drew of them, by the checkpoint's folder, where that is any.
        exports: folders of Hugging Face models of the run; of a run whose checkpoints drew any.
    """

    folder: Path
    holds: bool = False
    drawn: dict[Path, int] = field(default_factory=dict)
    exports: list[Path] = field(default_factory=list)

    @property
    def told(self) -> list[str]:
        """Lines for a person."""
        if not self.drawn:
            return [f"run {self.folder.name}: holds some of it, no checkpoint was trained on it"]
        most = max(self.drawn.values())
        lines = [f"run {self.folder.name}: {most:,} sequences were drawn of shards that hold it"]
        return lines + [f"  trained on it: {path}" for path in [*sorted(self.drawn), *self.exports]]


def trace(results: Path, shards: Collection[str]) -> list[Trace]:
    """Return the runs that hold some of the shards, or were trained on them."""
    shards = set(shards)
    return [found for folder in sorted((results / "runs").glob("*")) if (found := _trace(folder, shards))]


def _trace(folder: Path, shards: set[str]) -> Trace | None:
    found = Trace(folder)
    held = {path.stem for path in (folder / "data").glob("*.idx")}
    mixture = folder / "mixture" / FILE
    if mixture.exists():
        held |= read_json(mixture)["probabilities"].keys()
    found.holds = any(_shard(name) in shards for name in held)
    for checkpoint in sorted((folder / "output" / "checkpoints").glob("iter_*")):
        drawn = (read_manifest(checkpoint) or {}).get("drawn", {})
        if count := sum(number for name, number in drawn.items() if _shard(name) in shards):
            found.drawn[checkpoint] = count
    if found.drawn:
        found.exports = sorted(path for path in (folder / "export").glob("*") if path.is_dir())
    return found if found.holds or found.drawn else None


def _shard(counted_name: str) -> str:
    return str(parse_counted(counted_name).shard)
