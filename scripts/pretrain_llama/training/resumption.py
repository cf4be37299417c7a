"""Where a training goes on: what of its past is whole, and whether the run is still the same."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist

from pretrain_llama.checkpoints import passport, torch_dist
from pretrain_llama.errors import OperatorError
from pretrain_llama.launch import submissions
from pretrain_llama.training import checkpoint_files, lock
from pretrain_llama.training.history import History
from pretrain_llama.training.identity import identity
from pretrain_llama.training.phases import (
    Phase,
    check_change,
    check_epochs,
    check_length,
    continued,
    described,
    epochs_at_end,
)
from pretrain_llama.training.processes import agreed, on_first_process
from pretrain_llama.training.run_folder import RunFolder, mixture_path

LOCK_WAIT_SECONDS = 60.0  # a killed training may still be writing a checkpoint
STAYING = (lock.NAME, submissions.FILE)  # in an output that begins again: this training holds the one, is in the other


@dataclass(frozen=True)
class ResumePoint:
    """A whole checkpoint that a training goes on from.

    Attributes:
        checkpoint: its folder.
        manifest: see checkpoint_files.py.
        consumed: sequences to leave behind: those of the manifest, and those that rewinds left out.
        drawn: of them, by counted name, those of each shard.
        rewinds: since the start of the run.
    """

    checkpoint: Path
    manifest: dict[str, Any]
    consumed: int
    drawn: dict[str, int]
    rewinds: int


@contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Hold a run's output for the length of a block, against a second training of it; other processes just pass.

    Raises:
        OperatorError: another training of this machine, or of one with the same file system, holds it.
    """
    with ExitStack() as stack:
        on_first_process(lambda: _hold(output, stack))
        yield


def _hold(output: Path, stack: ExitStack) -> None:
    output.mkdir(parents=True, exist_ok=True)
    stack.enter_context(lock.held(output, LOCK_WAIT_SECONDS, "another training writes to this output"))


def check_unchanged(folder: RunFolder) -> dict[str, Any]:
    """See whether the run is what its output was begun with, and do what `on_change` says where it is not.

    Returns:
        the identity of the run, as its files have it now.

    Raises:
        OperatorError: it changed, and may not; gives the differences.
    """
    history = History(folder.output)
    phases = history.phases()
    now = identity(folder.path, folder.run, folder.tokenizer_identity, folder.manifest["blake3"])
    changed = check_change(phases, now, folder.run["on_change"], folder.output)
    if changed and folder.run["on_change"] == "restart":
        kept = _keep_output(folder.output)
        print(f"the run changed ({', '.join(changed)}): the earlier output is kept as {kept}", flush=True)
    return now


def _keep_output(output: Path) -> Path:
    number = 1
    while (kept := output.with_name(f"{output.name}_before_change_{number}")).exists():
        number += 1
    kept.mkdir()
    for path in output.iterdir():
        if path.name not in STAYING:
            path.rename(kept / path.name)
    return kept


def find_resume_point(output: Path) -> ResumePoint | None:
    """Return the newest whole checkpoint, or None for a training that has none yet. Every process calls it.

    Damaged ones are set aside, with a warning, and older ones tried.

    Raises:
        OperatorError: there were checkpoints, but none is whole: starting again would throw the training away.
    """
    checkpoints, history = output / "checkpoints", History(output)
    is_first = dist.get_rank() == 0
    if is_first:
        checkpoints.mkdir(parents=True, exist_ok=True)
        checkpoint_files.remove_unfinished(checkpoints)
    for folder in on_first_process(lambda: list(torch_dist.numbered(checkpoints).values())):
        damage = checkpoint_files.damage(folder, dist.get_rank(), dist.get_world_size())
        if agreed(int(damage is not None))[0]:
            on_first_process(partial(_set_aside, folder, damage, history))
            continue
        return on_first_process(partial(_resume_point, folder, history))
    on_first_process(lambda: _check_never_saved(history, checkpoints))
    return None


def _resume_point(folder: Path, history: History) -> ResumePoint:
    checkpoint_files.name_newest(folder)
    manifest = checkpoint_files.read_manifest(folder)
    assert manifest is not None, "it was looked for damage"
    return ResumePoint(folder, manifest, *history.position(manifest), len(history.rewinds()))


def _set_aside(folder: Path, damage: str | None, history: History) -> None:
    aside = checkpoint_files.set_aside(folder)
    problem = damage or "another process found its files changed"
    history.note("damaged", checkpoint=folder.name, problem=problem, kept_as=aside.name)
    print(f"WARNING: checkpoint {folder} is damaged and not used: {problem}; it is kept as {aside.name}", flush=True)


def _check_never_saved(history: History, checkpoints: Path) -> None:
    if saved := history.events("saved"):
        raise OperatorError(
            f"the training saved iteration {saved[-1]['iteration']}, but no whole checkpoint is left",
            where=checkpoints,
            action=f"bring a checkpoint back; or, to begin again, move {checkpoints.parent} away",
        )


def begin_phase(folder: RunFolder, point: ResumePoint | None, now: dict[str, Any]) -> list[Phase]:
    """Return the phases up to the one that is trained now, and record that where it is new; on the first process.

    Args:
        folder: of the run.
        point: to go on from; None begins.
        now: the identity of the run.

    Raises:
        OperatorError: the checkpoint is of the other kind of optimizer, or its vocabulary is padded otherwise.
        ConfigError: the phase would train nothing, or repeat shards more often than the mixture allows.
    """
    history = History(folder.output)
    if point is None:
        phases = [Phase(0, 0, {}, now)]
    else:
        _check_optimizer(folder, point)
        passport.check_padding(folder.path / "checkpoint", folder.run["parallel"]["tensor"], point.checkpoint)
        begun = Phase(point.manifest["iteration"], point.consumed, point.drawn, now)
        phases = continued(history.phases(), begun)
    if phases != history.phases():
        _check_phase(folder, phases)
        history.write_phases(phases)
        history.note("phase", iteration=phases[-1].iteration, number=len(phases))
    return phases


def _check_phase(folder: RunFolder, phases: list[Phase]) -> None:
    """Check a phase that begins, and print how often its shards will have been passed over."""
    iterations = folder.training["iterations"]
    check_length(phases[-1].iteration, iterations, f"{folder.path / 'run.yaml'}: training")
    epochs, most = epochs_at_end(phases, iterations), folder.mixture.get("max_epochs", {})
    check_epochs(epochs, most, folder.training["sequence_length_tokens"], mixture_path(folder.path))
    print(f"phase {len(phases)}, iterations {phases[-1].iteration} to {iterations}: {described(epochs)}", flush=True)


def _check_optimizer(folder: RunFolder, point: ResumePoint) -> None:
    wanted, found = folder.run["parallel"]["distributed_optimizer"], point.manifest["distributed_optimizer"]
    if wanted != found:
        raise OperatorError(
            f"the checkpoint was written with distributed_optimizer: {str(found).lower()}, which the other kind "
            "cannot load",
            where=f"{folder.path / 'run.yaml'}: parallel",
            action=f"set distributed_optimizer: {str(found).lower()}",
        )
