"""A training's checkpoints as files: which exist, which are whole, and which to keep.

checkpoints/latest_checkpointed_iteration.txt   the newest, as Megatron-LM has it
checkpoints/iter_0000500/                       a checkpoint; it appears under this name when it is whole
checkpoints/iter_0000500/manifest.json          how far the training was, and size and BLAKE3 of each file
checkpoints/.iter_0000500.{host}.{pid}.part/    one that is being written, or whose writer was killed
checkpoints/iter_0000500_damaged_1/             one that its manifest did not fit, set aside
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blake3 import blake3

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.files import read_json, write_json
from pretrain_llama.run.timelines import Position

MANIFEST = "manifest.json"
# What a training resumes by; with `timeline`, `timeline_id` and `left_out`, which manifests of earlier versions lack.
FACTS = {
    "iteration",
    "consumed",
    "drawn",
    "distributed_optimizer",
    "skipped_steps",
    "skips_in_a_row",
    "anomalies",
    "files",
}


def read_manifest(checkpoint: Path) -> dict[str, Any] | None:
    """Return a checkpoint's manifest; None where it is missing, unreadable, or incomplete."""
    try:
        manifest = read_json(checkpoint / MANIFEST)
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.keys() >= FACTS else None


def position(manifest: dict[str, Any]) -> Position:
    """Return the position in the data by a manifest; those of earlier versions do not say what was left out."""
    return Position(manifest["consumed"], manifest["drawn"], manifest.get("left_out"))


def hash_files(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return size in bytes and BLAKE3 of files, by name."""
    return {path.name: {"bytes": path.stat().st_size, "blake3": _hash(path)} for path in sorted(paths)}


def _hash(path: Path) -> str:
    digest = blake3()  # in one thread: its pool of threads does not outlive a fork, in which checkpoints are written
    if path.stat().st_size:  # an empty file cannot be mapped
        digest.update_mmap(path)
    return digest.hexdigest()


def damage(checkpoint: Path, part: int = 0, parts: int = 1) -> str | None:
    """Say what is wrong with a checkpoint, or return None where all is as its manifest says.

    Args:
        checkpoint: its folder.
        part: which of the files to hash, of `parts` shares; sizes are compared of all.
        parts: processes that share the work.
    """
    manifest = read_manifest(checkpoint)
    if manifest is None:
        return f"{MANIFEST} is missing, or lacks something"
    if manifest["iteration"] != torch_dist.iteration_of(checkpoint):  # it would stay the newest, or never be
        return f"it is of iteration {manifest['iteration']}, by its {MANIFEST}"
    for name, stated in manifest["files"].items():
        path = checkpoint / name
        size = path.stat().st_size if path.exists() else None
        if size != stated["bytes"]:
            return f"{name} has {'no' if size is None else size} bytes, {stated['bytes']} were written"
    for name in list(manifest["files"])[part::parts]:
        if _hash(checkpoint / name) != manifest["files"][name]["blake3"]:
            return f"the bytes of {name} are not those that were written"
    return None


def publish(beside: Path, folder: Path, manifest: dict[str, Any]) -> None:
    """Give a written checkpoint its manifest and its name, and mark it as the newest."""
    write_json(beside / MANIFEST, manifest)
    shutil.rmtree(folder, ignore_errors=True)  # only one that was never named as the newest can be in the way
    beside.rename(folder)
    name_newest(folder)


def name_newest(folder: Path) -> None:
    """Write the tracker."""
    torch_dist.write_tracker(folder.parent, torch_dist.iteration_of(folder))


def set_aside(checkpoint: Path) -> Path:
    """Give a damaged checkpoint another name, and return it."""
    number = 1
    while (aside := checkpoint.with_name(f"{checkpoint.name}_damaged_{number}")).exists():
        number += 1
    return checkpoint.rename(aside)


def remove_unfinished(checkpoints: Path) -> None:
    """Remove what killed trainings left half written."""
    for path in checkpoints.glob(".iter_*.part"):
        shutil.rmtree(path, ignore_errors=True)


def prune(checkpoints: Path, keep_last: int | None, keep_every: int | None, in_use: Iterable[Path] = ()) -> list[Path]:
    """Delete the checkpoints that need not be kept, and return them.

    Args:
        checkpoints: their folder.
        keep_last: newest to keep; None keeps all.
        keep_every: multiples of so many iterations are kept; None keeps none of them.
        in_use: are kept for now.
    """
    if keep_last is None:
        return []
    older = list(torch_dist.numbered(checkpoints).items())[keep_last:]
    unkept = [path for iteration, path in older if not keep_every or iteration % keep_every]
    removed = [path for path in unkept if path not in in_use]
    for path in removed:
        doomed = path.rename(path.with_name(f".{path.name}.pruned.part"))  # half a checkpoint never has its name
        shutil.rmtree(doomed)
    return removed
