"""Count the jobs of each rule, and what they take, into lines and a table for a screen."""

import difflib
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

Amount = tuple[int, str]  # how much, and of what: "B" are bytes
SHOWN_RULES = 32  # of a table, which has 40 lines at most
NO_RULE = re.compile(r"No rule to produce (\S+)")
UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (0, ""))


@dataclass
class Described:
    """What a Snakefile says of its rules: what each is for, how much a job takes, and which print to the screen."""

    words: Mapping[str, str] = field(default_factory=dict)
    amount: Callable[[str, Mapping[str, str]], Amount | None] = lambda rule, wildcards: None
    speaking: Collection[str] = ()
    targets: Collection[str] = ()


DESCRIBED = Described()


def describe(
    words: Mapping[str, str],
    amount: Callable[[str, Mapping[str, str]], Amount | None],
    speaking: Collection[str] = (),
    targets: Collection[str] = (),
) -> None:
    """Say what rules are for.

    Args:
        words: by rule; none for targets, which do nothing.
        amount: of a job, given its rule and wildcards: a number and its unit, or None where it is not known.
        speaking: rules whose programs print to the screen themselves.
        targets: that a person may have meant who misspelt one.
    """
    DESCRIBED.words, DESCRIBED.amount = words, amount
    DESCRIBED.speaking, DESCRIBED.targets = speaking, targets


def meant(message: str) -> str:
    """Return what Snakemake says of a target that no rule makes, with those that a person may have meant."""
    found = NO_RULE.search(message)
    near = difflib.get_close_matches(found[1], list(DESCRIBED.targets)) if found else []
    return f"nothing makes {found[1]}; did you mean {' or '.join(near)}?" if found and near else message


@dataclass
class Stage:
    """The jobs of a rule.

    Attributes:
        planned: jobs known before the run; more may come after a checkpoint.
        amounts: of all jobs that were begun, by unit.
        done_amounts: of those that ended well.
        begun, ended: seconds of the clock: of the first job's start, of the last one's end.
    """

    rule: str
    planned: int = 0
    started: int = 0
    done: int = 0
    failed: int = 0
    amounts: dict[str, int] = field(default_factory=dict)
    done_amounts: dict[str, int] = field(default_factory=dict)
    running: dict[int, Amount | None] = field(default_factory=dict)
    begun: float = 0.0
    ended: float = 0.0
    is_target: bool = False
    is_told: bool = False

    @property
    def total(self) -> int:
        """Jobs, as far as they are known."""
        return max(self.planned, self.started)


class Stages:
    """All stages of a run or a preview, in the order in which they were planned or begun."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin; clock: returns seconds."""
        self._clock = clock
        self._stages: dict[str, Stage] = {}
        self._of_jobs: dict[int, Stage] = {}
        self.has_checkpoint = False

    def plan(self, stats: Mapping[str, int]) -> None:
        """Take the numbers of jobs by rule, as Snakemake tells them; its `total` is none."""
        for rule, count in stats.items():
            if rule != "total":
                self._stage(rule).planned = count

    @property
    def jobs(self) -> int:
        """All jobs but targets, which do nothing."""
        return sum(stage.total for stage in self._shown())

    @property
    def is_speaking(self) -> bool:
        """Whether a program prints to the screen now."""
        return any(stage.running and self.speaks(stage.rule) for stage in self._stages.values())

    def speaks(self, rule: str) -> bool:
        """Say whether a rule's program prints to the screen."""
        return rule in DESCRIBED.speaking

    def begin(self, jobid: int, rule: str, wildcards: Mapping[str, str], has_output: bool) -> None:
        """Count a job that begins, or that a preview lists; a job that is tried again counts once."""
        stage = self._stage(rule)
        stage.is_target = not has_output
        if jobid in self._of_jobs:
            stage.failed -= 1
        else:
            stage.started += 1
        stage.begun = stage.begun or self._clock()
        amount = DESCRIBED.amount(rule, wildcards)
        if amount and jobid not in self._of_jobs:
            _add(stage.amounts, amount)
        self._of_jobs[jobid] = stage
        stage.running[jobid] = amount

    def end(self, jobid: int) -> None:
        """Count a job that ended well."""
        if stage := self._of_jobs.get(jobid):
            if amount := stage.running.pop(jobid, None):
                _add(stage.done_amounts, amount)
            stage.done += 1
            stage.ended = self._clock()

    def fail(self, jobid: int) -> None:
        """Count a job that failed."""
        if stage := self._of_jobs.get(jobid):
            stage.running.pop(jobid, None)
            stage.failed += 1
            stage.ended = self._clock()

    def running(self) -> list[str]:
        """Return a line for each stage that goes on."""
        return [self._line(stage) for stage in self._shown() if stage.running]

    def has_lasted(self, seconds: float) -> bool:
        """Say whether some stage goes on for so long."""
        return any(stage.running and self._clock() - stage.begun >= seconds for stage in self._shown())

    def ended(self) -> list[str]:
        """Return a line for each stage of which no further job is known, once."""
        lines = []
        for stage in self._shown():
            if stage.started and not stage.running and not stage.is_told and stage.started >= stage.planned:
                stage.is_told = True
                lines.append(self._line(stage))
        return lines

    def table(self) -> str:
        """Return the jobs by rule: what they are for, and how much they take, where that is known."""
        shown = self._shown()
        rows = [
            (stage.rule, f"{stage.total:,}", DESCRIBED.words.get(stage.rule, ""), _amounts(stage.amounts))
            for stage in shown[:SHOWN_RULES]
        ]
        rows = [("rule", "jobs", "what for", "how much"), *rows, ("total", f"{self.jobs:,}", "", "")]
        first, second, third, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = [
            f"{rule:<{first}}  {count:>{second}}  {words:<{third}}  {amount}".rstrip()
            for rule, count, words, amount in rows
        ]
        if len(shown) > SHOWN_RULES:
            lines.insert(-1, f"and {len(shown) - SHOWN_RULES} more rules")
        if self.has_checkpoint:
            lines.append("More jobs come when the shards are counted. With --verbose: each job, and why.")
        else:
            lines.append("With --verbose: each job, and why.")
        return "\n".join(lines)

    def _line(self, stage: Stage) -> str:
        seconds = (self._clock() if stage.running else stage.ended) - stage.begun
        parts = [f"{stage.rule:<21}{stage.done:>6,} of {stage.total:,}"]
        if stage.failed:
            parts.append(f"{stage.failed:,} failed")
        if stage.done_amounts:
            parts.append(_amounts(stage.done_amounts))
            parts += [
                f"{_amount(count / seconds, unit)}/s" for unit, count in stage.done_amounts.items() if seconds > 1
            ]
        parts.append(_time(seconds))
        if stage.done and (left := stage.total - stage.done - stage.failed):
            parts.append(f"about {_time(left * seconds / stage.done)} left")
        return ", ".join(parts)

    def _stage(self, rule: str) -> Stage:
        return self._stages.setdefault(rule, Stage(rule))

    def _shown(self) -> list[Stage]:
        return [stage for stage in self._stages.values() if stage.rule in DESCRIBED.words or not stage.is_target]


def _add(amounts: dict[str, int], amount: Amount) -> None:
    count, unit = amount
    amounts[unit] = amounts.get(unit, 0) + count


def _amounts(amounts: Mapping[str, int]) -> str:
    return ", ".join(_amount(count, unit) for unit, count in amounts.items())


def _amount(count: float, unit: str) -> str:
    """Return a number in three digits, with its unit: 12.3 MB, 614k tokens."""
    size, prefix = next(step for step in UNITS if count >= 0.9995 * step[0])
    number = f"{count / (size or 1):.3g}"
    return f"{number} {prefix}{unit}" if unit == "B" else f"{number}{prefix} {unit}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
