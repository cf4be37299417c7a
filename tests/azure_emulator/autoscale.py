"""The formula of a pool that scales by itself: its language, as far as the executor uses it.

https://learn.microsoft.com/azure/batch/batch-automatic-scaling describes it: statements `name = expression;`, doubles,
vectors of them, times and intervals, C's operators, functions of lists of doubles and vectors, metrics with samples.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

STATEMENT = re.compile(r"\s*(\$?\w+)\s*=\s*([^=].*)", re.S)
TERNARY = re.compile(r"([^?]*)\?([^?:]*):([^?:]*)", re.S)
SAMPLED_EVERY = timedelta(seconds=30)
SAMPLE_DELAY = timedelta(minutes=1)


@dataclass
class Metric:
    """A number that was the same ever since its first sample."""

    value: float
    first: datetime
    now: datetime

    def GetSample(self, interval: timedelta) -> list[float]:  # noqa: N802
        """The samples of the last interval that have arrived."""
        start = max(self.now - interval, self.first)
        return [self.value] * max(0, (self.now - SAMPLE_DELAY - start) // SAMPLED_EVERY)


def _of_lists(function: Callable[[list[float]], float]) -> Callable[..., float]:
    """A function of doubles and vectors; the service cannot evaluate it where there is none of either."""
    return lambda *values: function([d for value in values for d in (value if isinstance(value, list) else [value])])


def evaluate(formula: str, pending_tasks: Metric) -> dict[str, Any]:
    """Return what a formula sets.

    Raises:
        ValueError: it is none.
    """
    names = {
        "max": _of_lists(max),
        "min": _of_lists(min),
        "time": lambda text="": datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z") if text else pending_tasks.now,
        "TimeInterval_Minute": timedelta(minutes=1),
        "TimeInterval_Second": timedelta(seconds=1),
        "taskcompletion": "taskcompletion",
        "PendingTasks": pending_tasks,
    }
    for text in filter(str.strip, formula.split(";")):
        statement = STATEMENT.fullmatch(text)
        if statement is None or re.search(r"[\[\]{}@%&|#]|\b(if|else|lambda|for|and|or|not)\b", text):
            raise ValueError(f"no statement of an autoscale formula: {text.strip()!r}")
        name, expression = statement[1], statement[2].replace("$", "")
        if ternary := TERNARY.fullmatch(expression):
            condition, yes, no = (part.strip() for part in ternary.groups())
            expression = f"({yes}) if ({condition}) else ({no})"
        try:
            names[name.removeprefix("$")] = eval(expression.strip(), {"__builtins__": {}}, names)
        except Exception as error:
            raise ValueError(f"{name} cannot be evaluated: {error}") from error
    return {name: value for name, value in names.items() if f"${name}" in formula and name != "PendingTasks"}


def nodes_asked(formula: str, created: datetime, later: timedelta, pending_tasks: int) -> int:
    """Return how many nodes a formula asks for some time after now, if as many tasks wait or run until then.

    Raises:
        ValueError: it is no formula, or asks for no number.
    """
    now = datetime.now(UTC) + later
    asked = evaluate(formula, Metric(pending_tasks, created, now))
    if asked.get("NodeDeallocationOption") != "taskcompletion":
        raise ValueError("nodes would be taken away from running tasks")
    return int(asked["TargetDedicatedNodes"])
