"""Read runs to compare them: their logs, and what differs in their settings and data."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama.configuration import load_run
from pretrain_llama.errors import ConfigError, OperatorError
from pretrain_llama.mixture.mixture import Mixture
from pretrain_llama.run.account import Account, read_account
from pretrain_llama.run.folder import read_manifest
from pretrain_llama.run.log_file import VALIDATION, read_log

LAST_STEPS = 10
SHOWN_CHARACTERS = 12  # of a hash
ABSENT = "—"


@dataclass(frozen=True)
class ComparedRun:
    """A run that was trained, at least in part.

    Attributes:
        name: that no other of the compared has.
        account: its steps and tokens.
        evaluations: records of validation.jsonl.
        facts: its settings and its data, as texts by dotted key.
    """

    name: str
    account: Account
    evaluations: list[dict[str, Any]]
    facts: dict[str, str]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Records of log.jsonl, in order."""
        return self.account.steps

    def loss(self, tokens: int) -> float:
        """Return the mean training loss of the last steps up to so many consumed tokens, in nats a token.

        NaN where the first step took more.
        """
        taken = [step["loss"] for step in self.steps if step["consumed_tokens"] <= tokens]
        return statistics.fmean(taken[-LAST_STEPS:]) if taken else float("nan")

    def validation(self, tokens: int) -> dict[str, float]:
        """Return the loss of each validation set at the last evaluation up to so many consumed tokens."""
        found = [record["loss"] for record in self.evaluations if record["consumed_tokens"] <= tokens]
        return found[-1] if found else {}

    def median(self, key: str) -> float:
        """Return the median over the steps of one figure of the log; NaN where it has none."""
        values = [step[key] for step in self.steps if key in step]
        return statistics.median(values) if values else float("nan")

    @property
    def hours(self) -> float:
        """Hours that the steps took."""
        return sum(step["step_seconds"] for step in self.steps) / 3600


def read_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """Return runs to compare.

    Raises:
        ConfigError: fewer than two, or one twice.
        OperatorError: a folder is no complete run folder, or nothing was trained yet.
    """
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise ConfigError(
            "two runs or more are compared, each once",
            where=", ".join(map(str, folders)) or "the command line",
            action="name the run folders: results/runs/<run> results/runs/<other>",
        )
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return [_read(name, folder) for name, folder in zip(names, folders, strict=True)]


def common_tokens(runs: Sequence[ComparedRun]) -> int:
    """Return the most consumed tokens that all runs have reached."""
    return min(run.account.consumed for run in runs)


def differences(runs: Sequence[ComparedRun]) -> list[tuple[str, ...]]:
    """Return what the runs do not agree on: a key, and its value in each run."""
    keys = list(dict.fromkeys(key for run in runs for key in run.facts))
    rows = [(key, *(run.facts.get(key, ABSENT) for run in runs)) for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def _read(name: str, folder: Path) -> ComparedRun:
    manifest, run = read_manifest(folder), load_run(folder)
    account = read_account(folder, run)
    if not account.steps:
        raise OperatorError("nothing was trained yet", where=folder, action=f"train it: bash {folder}/launch.sh")
    facts = dict(_flat(run, "")) | dict(_data(manifest, Mixture.read(folder / "mixture")))
    return ComparedRun(name, account, read_log(folder / "output", VALIDATION), facts)


def _flat(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the values below a key of run.yaml, dotted."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    else:
        yield key, str(value)


def _data(manifest: dict[str, Any], mixture: Mixture) -> Iterator[tuple[str, str]]:
    from pretrain_llama.mixture import ledger

    identity = manifest["identity"]
    yield "tokenizer, its identity", identity["tokenizer"]
    if "checkpoint" in identity:
        yield "checkpoint, its hash", str(identity["checkpoint"])[:SHOWN_CHARACTERS]
    yield "shards sampled", f"{len(mixture.shards):,}"
    yield "tokens there", f"{sum(shard.name.tokens for shard in mixture.shards):,}"
    for line in ledger.sums(mixture, "domain").query("shards > 0").itertuples():
        yield f"share of {line.Index}", f"{100 * line.probability:.2f} %"
        yield f"epochs of {line.Index}", f"{line.epochs:.3g}"
