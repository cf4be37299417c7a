"""Find where a training resumes: the newest whole checkpoint, and whether the run is still the same."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.errors import OperatorError
from pretrain_llama.run import checkpoint_files, earlier, lock, submissions
from pretrain_llama.run.folder import RunFolder, mixture_path
from pretrain_llama.run.history import History
from pretrain_llama.run.identity import identity
from pretrain_llama.run.phases import (
    Phase,
    check_change,
    check_epochs,
    check_length,
    continued,
    described,
    epochs_at_end,
    trained_after,
)
from pretrain_llama.run.stages import identified
from pretrain_llama.run.timelines import Position, latest_rewind, shared_until
from pretrain_llama.training import earlier_draws
from pretrain_llama.training.processes import agreed, on_first_process

LOCK_WAIT_SECONDS = 60.0  # a killed training may still be writing a checkpoint
STAYING = (lock.NAME, submissions.FILE)  # in an output that begins again: this training holds the one, is in the other


@dataclass(frozen=True)
class ResumePoint:
    """A whole checkpoint that a training resumes from.

    Attributes:
        checkpoint: its folder.
        manifest: see checkpoint_files.py.
        timeline: number of the one that is gone on from: the checkpoint's, or that of the last rewind to it.
        position: from which to go on: the manifest's, or that of the rewind.
        phases: up to there.
        logged: the last iteration, up to the checkpoint's, whose lines in the logs are of its own past.
        rewinds: since the start of the run.
    """

    checkpoint: Path
    manifest: dict[str, Any]
    timeline: int
    position: Position
    phases: list[Phase]
    logged: int
    rewinds: int

    @property
    def iteration(self) -> int:
        """Optimizer steps done."""
        return self.manifest["iteration"]


@contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Lock a run's output for the length of a block, against a second training; only the first process locks.

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
    """Check that the run is what its output was begun with, and do what `on_change` says where it is not.

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
        return on_first_process(partial(_resume_point, folder, output))
    on_first_process(lambda: _check_never_saved(history, checkpoints))
    return None


def find_rewind_point(output: Path, phase: Phase) -> ResumePoint:
    """Return the checkpoint that a training goes back to, within its phase. Every process calls it.

    Raises:
        OperatorError: there is none, or it is of an earlier phase, or none that this training has come from.
    """
    found = find_resume_point(output)
    if found is None:
        raise OperatorError(
            "there is no checkpoint yet to go back to",
            where=output / "checkpoints",
            action="lower the learning rate, or set checkpoint_every_iterations to less",
        )
    is_past = found.logged == found.iteration
    if found.iteration < phase.iteration or not is_past:
        raise OperatorError(
            f"the newest whole checkpoint, {found.checkpoint.name}, is of "
            + ("an earlier phase" if is_past else "another timeline than this training's"),
            where=output / "checkpoints",
            action="type the same command again: it goes on from there",
        )
    return found


def _resume_point(folder: Path, output: Path) -> ResumePoint:
    """Return the resume point of a whole checkpoint, and mark it as the newest.

    Raises:
        OperatorError: it is not of the training that the history tells of.
    """
    manifest = checkpoint_files.read_manifest(folder)
    assert manifest is not None, "it was looked for damage"
    history, iteration = History(output), manifest["iteration"]
    if "timeline" in manifest and not history.has_timelines():
        raise OperatorError(
            f"timelines.json is missing, and the checkpoint is of timeline {manifest['timeline']}",
            where=output,
            action="bring back timelines.json and phases.json as they were beside it",
        )
    timelines = history.timelines()
    own = manifest.get("timeline", earlier.first_timeline(timelines))
    if own >= len(timelines):
        raise OperatorError(
            f"the checkpoint is of timeline {own}, and timelines.json has {len(timelines)}",
            where=folder,
            action="bring back timelines.json and phases.json as they were beside it",
        )
    if timelines[own].id != manifest.get("timeline_id"):
        raise OperatorError(
            f"another training wrote the checkpoint: its timeline {own} is not that of timelines.json",
            where=folder,
            action="move it out of this output, whose training then goes on from its own; or bring back timelines.json "
            "and phases.json as they were beside it",
        )
    checkpoint_files.name_newest(folder)
    gone_on = latest_rewind(timelines, own, iteration)
    rewound = timelines[gone_on].position if gone_on != own else None
    position = rewound or checkpoint_files.position(manifest)
    phases = [phase for phase in history.phases(gone_on) if phase.iteration <= iteration]
    if position.left_out is None:
        position = replace(position, left_out=_left_out(output, phases, manifest, position))
    logged = shared_until(timelines, own, iteration, len(timelines) - 1)
    return ResumePoint(folder, manifest, gone_on, position, phases, logged, history.rewinds())


def _left_out(output: Path, phases: list[Phase], manifest: dict[str, Any], position: Position) -> dict[str, int]:
    """Return what an earlier version left out; where that cannot be known, nothing, with a warning."""
    iteration = manifest["iteration"]
    if position.consumed == trained_after(phases, iteration) and not manifest["skipped_steps"]:
        return {}
    known = earlier_draws.left_out(output, phases, iteration, position)
    if known is None:
        print("WARNING: what earlier rewinds and skips left out is not known, and counts as trained on", flush=True)
    return known or {}


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


def begin_timeline(
    folder: RunFolder, point: ResumePoint | None, now: dict[str, Any]
) -> tuple[dict[str, Any], list[Phase]]:
    """Begin the timeline that is trained now, and its phase where that is new; on the first process.

    Args:
        folder: of the run.
        point: to go on from; None begins.
        now: the identity of the run.

    Returns:
        what manifests say of it, and the phases up to the one that is trained now.

    Raises:
        OperatorError: the checkpoint is of the other kind of optimizer.
        ConfigError: the phase would train nothing, or repeat shards more often than the mixture allows.
    """
    history = History(folder.output)
    now = identified(folder.training, point.iteration if point else 0, now)
    if point is None:
        begun = Phase(0, 0, {}, now)
        phases = [begun]
    else:
        _check_optimizer(folder, point)
        begun = Phase(point.iteration, point.position.consumed, point.position.drawn, now)
        phases = continued(point.phases, begun)
    is_new = phases[-1] not in history.begun_phases()
    if is_new:
        _check_phase(folder, phases)
    timeline = history.begin_timeline(point.timeline if point else None, begun.iteration, phases)
    if is_new:
        history.note("phase", iteration=begun.iteration, number=len(phases))
    return timeline, phases


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
