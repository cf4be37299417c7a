"""The phases of a training: stretches with one identity each, and what a new phase may change."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama.errors import ConfigError, OperatorError, listed
from pretrain_llama.names import parse_counted
from pretrain_llama.run.identity import changed_parts, differences
from pretrain_llama.run.sizes import sequences_after

# Changed, they would leave the state of the optimizer or the count of the drawn sequences without meaning.
FIXED_PARTS = ("tokenizer", "checkpoint", "trainer")
FIXED_KEYS = ("sequence_length_tokens", "seed", "precision")


@dataclass(frozen=True)
class Phase:
    """A stretch of a training with one identity.

    Attributes:
        iteration: optimizer steps before it.
        consumed: sequences consumed before it.
        drawn: of them, by counted name, those of each shard; shards of earlier phases are there, too.
        identity: of the run folder, see identity.py.
    """

    iteration: int
    consumed: int
    drawn: dict[str, int]
    identity: dict[str, Any]


def trained_after(phases: list[Phase], iterations: int) -> int:
    """Return the sequences that so many optimizer steps train on, those of each phase with batches of its own."""
    trained = 0
    ends = [*(phase.iteration for phase in phases[1:]), iterations]
    for phase, end in zip(phases, ends, strict=True):
        steps = max(0, min(end, iterations) - phase.iteration)
        trained = sequences_after(phase.identity["training"], steps, trained)
    return trained


def continued(phases: list[Phase], begun: Phase) -> list[Phase]:
    """Return the phases of a training that goes on where and as `begun` says.

    What lies after that is forgotten with the weights that it led to. A phase of the same identity goes on.
    """
    kept = [phase for phase in phases if phase.iteration <= begun.iteration]
    if kept and kept[-1].identity == begun.identity:
        return kept
    return [*(phase for phase in kept if phase.iteration < begun.iteration), begun]


def check_change(phases: list[Phase], now: dict[str, Any], on_change: str, where: Path) -> list[str]:
    """Check that a training may go on, or begin again, under the identity that its run now has.

    Args:
        phases: up to now; none where nothing has begun.
        now: the identity.
        on_change: of run.yaml.
        where: for the message.

    Returns:
        the parts that changed since the last phase.

    Raises:
        OperatorError: it may not; gives the differences.
    """
    changed = changed_parts(phases[-1].identity, now) if phases else []
    if changed and on_change == "new_phase":
        check_new_phase(phases, now, where)
    elif changed and on_change == "refuse":
        before = phases[-1].identity
        goes_on = "" if _fixed_changes(phases, now) else "new_phase goes on with the change, "
        raise OperatorError(
            f"the run changed since its training began:\n{differences(before, now)}",
            where=where,
            action=f"undo the change to resume; or, to keep this run as it is, {_keeping(before, now)}leave it out of "
            "`runs` in config.yaml; or give the run a new name in config/runs/ and config.yaml; or set on_change in "
            f"run.yaml: {goes_on}restart begins again and keeps this output under another name",
        )
    return changed


def _keeping(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return how to keep a run from the shards that are new to it; empty where there are none."""
    known = {str(parse_counted(name).shard) for name in before["data"]}
    new = sorted({str(parse_counted(name).shard) for name in now["data"]} - known)
    quoted = listed([json.dumps(name) for name in new])
    return f"add the new shards to its exclude_iterator.json, {quoted}, or " if new else ""


def check_new_phase(phases: list[Phase], now: dict[str, Any], where: Path) -> None:
    """Check that a training can go on under another identity, with nothing repeated or left out.

    Args:
        phases: up to now, at least one.
        now: the identity.
        where: for the message.

    Raises:
        OperatorError: what must not change did; names it.
    """
    if fixed := _fixed_changes(phases, now):
        raise OperatorError(
            f"no new phase can begin where {listed(fixed)} changed:\n{differences(phases[-1].identity, now)}",
            where=where,
            action="undo that change; or start a new run from this one's exported checkpoint. New documents belong in "
            "new shards: of a shard under other counts, nobody knows which sequences were drawn",
        )


def _fixed_changes(phases: list[Phase], now: dict[str, Any]) -> list[str]:
    """Return what changed that no new phase may change."""
    before = phases[-1].identity
    fixed = [part for part in changed_parts(before, now) if part in FIXED_PARTS]
    fixed += [key for key in FIXED_KEYS if before["training"].get(key) != now["training"].get(key)]
    known = {name: content for phase in phases for name, content in phase.identity["data"].items()}
    counted = {parse_counted(name).shard: name for name in known}
    for name, content in sorted(now["data"].items()):
        if name in known and content != known[name]:
            fixed.append(f"the content of {name}")
        elif name not in known and (earlier := counted.get(parse_counted(name).shard)):
            fixed.append(f"the counts of {earlier}")
    return fixed


def check_length(done: int, iterations: int, where: str) -> None:
    """Check that a phase which begins after `done` iterations has something to train.

    Raises:
        ConfigError: it has not.
    """
    if iterations <= done:
        raise ConfigError(
            f"a new phase of a training that has done {done} iterations cannot end at {iterations}",
            where=where,
            action=f"set iterations, which counts from the start of the run, to more than {done}",
        )


def epochs_at_end(phases: list[Phase], iterations: int) -> dict[str, float]:
    """Return how often each shard of the last phase has been passed over at its end, with the phases before."""
    phase, length = phases[-1], phases[-1].identity["training"]["sequence_length_tokens"]
    left = trained_after(phases, iterations) - trained_after(phases, phase.iteration)
    mixture = phase.identity["mixture"]
    share = left / sum(mixture.values())
    return {
        name: (phase.drawn.get(name, 0) + probability * share) * length / parse_counted(name).tokens
        for name, probability in mixture.items()
    }


def check_epochs(epochs: dict[str, float], most: dict[str, float], sequence_length: int, where: Path) -> None:
    """Check the epochs of shards against the most that the mixture allows; a sequence more is rounding.

    Raises:
        ConfigError: a shard would be repeated more often; names those that are furthest over.
    """
    over = {
        name: epochs[name] / limit
        for name, limit in most.items()
        if name in epochs and epochs[name] > limit + sequence_length / parse_counted(name).tokens
    }
    if over:
        worst = sorted(over, key=lambda name: over[name], reverse=True)
        shown = listed([f"{name}: {epochs[name]:.4g} epochs, {most[name]:g} allowed" for name in worst], "\n    ")
        raise ConfigError(
            f"{len(over):,} shards would be drawn more often than max_epochs, with what earlier phases drew:"
            f"\n    {shown}",
            where=where,
            action="train fewer iterations, lower the rates of these shards, or raise mixture: max_epochs in run.yaml; "
            "then write the run folder again",
        )


def described(epochs: dict[str, float]) -> str:
    """Return a line on the epochs of shards."""
    ordered = sorted(epochs, key=lambda name: epochs[name], reverse=True)
    shown = listed([f"{epochs[name]:.3g} of {name}" for name in ordered])
    return f"epochs of the shards at its end: {shown}; at least {epochs[ordered[-1]]:.3g}"
