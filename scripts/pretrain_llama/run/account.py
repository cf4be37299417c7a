"""Account for a training's tokens: consumed from the data and trained on, in all and by language and domain.

    consumed  tokens taken from the data. They say where in its shards a training stands; epochs are passes over the
              data, so they go by these, and so do the caps of a mixture.
    trained   those of them that a step was taken on. Rewinds and skipped steps leave the others out.

Both are of the timeline that is left, over all its phases. `estimate_run`, `show_status`, `summarize_run` and the
report all take them from here.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pretrain_llama import stores
from pretrain_llama.checkpoints.torch_dist import TRACKER
from pretrain_llama.mixture.mixture import FILE
from pretrain_llama.names import parse_counted
from pretrain_llama.run.history import History
from pretrain_llama.run.identity import changed_parts, hyperparameters, trainer_part
from pretrain_llama.run.log_file import CONSUMPTION, read_log
from pretrain_llama.run.phases import Phase, trained_after
from pretrain_llama.run.timelines import Position
from pretrain_llama.settings import RunSettings


@dataclass(frozen=True)
class Domain:
    """The tokens that a training took of a language and domain.

    Attributes:
        consumed: tokens.
        trained: tokens; None where an earlier version, which did not record them, left some out.
        epochs: passes over what is there.
    """

    consumed: int
    trained: int | None
    epochs: float

    @property
    def left_out(self) -> int | None:
        """Tokens that were consumed, and not trained on; None where that is not known."""
        return None if self.trained is None else self.consumed - self.trained


def by_domain(position: Position, names: Iterable[str], sequence_length: int) -> dict[str, Domain]:
    """Return what was taken of each language and domain, by {language}_{domain}.

    Args:
        position: of the training.
        names: counted ones, of the shards of all its phases.
        sequence_length: tokens.
    """
    drawn, left_out, there = (defaultdict[str, int](int) for _ in range(3))
    for name in names:
        counted = parse_counted(name)
        domain = f"{counted.shard.language}_{counted.shard.domain}"
        drawn[domain] += position.drawn.get(name, 0) * sequence_length
        left_out[domain] += (position.left_out or {}).get(name, 0) * sequence_length
        there[domain] += counted.tokens
    return {name: Domain(drawn[name], drawn[name] - left_out[name], drawn[name] / there[name]) for name in there}


def consumption_record(iteration: int, domains: dict[str, Domain]) -> dict[str, Any]:
    """Return a line of consumption.jsonl."""
    return {
        "iteration": iteration,
        "tokens": {name: domain.consumed for name, domain in domains.items()},
        "trained": {name: domain.trained for name, domain in domains.items()},
        "epochs": {name: domain.epochs for name, domain in domains.items()},
    }


def read_domains(output: str | Path) -> tuple[int, dict[str, Domain]]:
    """Return the newest record of each language and domain, and its iteration; nothing where there is none.

    Args:
        output: of the training, here or in a store.
    """
    consumed = read_log(output, CONSUMPTION)
    if not consumed:
        return 0, {}
    last = consumed[-1]
    trained = last.get("trained")
    if trained is None:  # of an earlier version: right where nothing was left out
        steps = [step for step in read_log(output) if step["iteration"] <= last["iteration"]]
        phases = History(output).phases()
        is_whole = bool(phases) and _trained(steps, phases) == sum(last["tokens"].values())
        trained = last["tokens"] if is_whole else {}
    found = {name: Domain(tokens, trained.get(name), last["epochs"][name]) for name, tokens in last["tokens"].items()}
    return last["iteration"], found


def _trained(steps: Sequence[dict[str, Any]], phases: Sequence[Phase]) -> int:
    """Return the tokens that the steps of a log were taken on."""
    if not steps:
        return 0
    if "trained_tokens" in steps[-1]:
        return steps[-1]["trained_tokens"]
    skipped = [0, *(step["skipped_steps"] for step in steps)]
    taken = [step["batch_sequences"] for step, (a, b) in zip(steps, pairwise(skipped), strict=True) if a == b]
    return sum(taken) * phases[-1].identity["training"]["sequence_length_tokens"]


@dataclass(frozen=True)
class Account:
    """The tokens of a training, up to its last step, and at its end.

    Attributes:
        steps: lines of log.jsonl.
        iteration: optimizer steps done.
        iterations: optimizer steps wanted.
        consumed: tokens.
        trained: tokens.
        trained_at_end: tokens, if no further step is left out.
    """

    steps: list[dict[str, Any]]
    iteration: int
    iterations: int
    consumed: int
    trained: int
    trained_at_end: int


def read_account(folder: str | Path | None, run: RunSettings) -> Account:
    """Return the tokens of a training, begun or not.

    Args:
        folder: of the run, here or in a store; None where there is none.
        run: run.yaml as it is now. Where the run is not what its training began with, this is its next phase, or it
            begins again, as on_change says.
    """
    training = hyperparameters(run["training"])
    iterations, length = training["iterations"], training["sequence_length_tokens"]
    output = f"{folder}/output"
    phases, steps = (History(output).phases(), read_log(output)) if folder else ([], [])
    if (
        phases
        and run["on_change"] == "restart"
        and _changed(phases[-1].identity, f"{folder}", trainer_part(run) | {"training": training})
    ):
        phases, steps = [], []
    saved = int(stores.read_small(f"{output}/checkpoints/{TRACKER}") or 0) if phases else 0
    next_phase = Phase(saved, 0, {}, {"training": training})
    at_end = trained_after([*(phase for phase in phases if phase.iteration <= saved), next_phase], iterations)
    if not steps:
        return Account([], 0, iterations, 0, 0, at_end * length)
    iteration, trained = steps[-1]["iteration"], _trained(steps, phases)
    skipped = trained_after(phases, iteration) * length - trained
    return Account(steps, iteration, iterations, steps[-1]["consumed_tokens"], trained, at_end * length - skipped)


def _changed(began: dict[str, Any], folder: str, chosen: dict[str, Any]) -> bool:
    """Say whether a run's small files differ from what its training began with; the trainer reads the .idx, too.

    Args:
        began: the identity of the training.
        folder: of the run; what it does not tell counts as unchanged.
        chosen: the parts that follow from run.yaml, as it is now.
    """
    manifest = stores.find_json(f"{folder}/manifest.json") or {}
    mixture = stores.find_json(f"{folder}/mixture/{FILE}") or {}
    now = manifest.get("identity", {}) | chosen
    now |= {"mixture": mixture["probabilities"]} if mixture else {}
    return bool(changed_parts(began, now))
