"""How many nodes the formula of a pool asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from azure_emulator.formulas import METRICS, OPTION, TARGETS, Evaluation

SAMPLED_EVERY = timedelta(seconds=30)
SAMPLE_DELAY = timedelta(minutes=1)


@dataclass(frozen=True)
class Asked:
    """Nodes that a formula asks for."""

    dedicated: int
    spot: int


NONE = Asked(0, 0)


def nodes_asked(
    formula: str, created: datetime, later: timedelta, metrics: Mapping[str, float], before: Asked = NONE
) -> Asked:
    """Return how many nodes a formula asks for some time after now.

    Args:
        formula: its text.
        created: when the pool was; there are samples since then, a minute late.
        later: the time after now.
        before: what the last evaluation asked for.
        metrics: by name, such as $PendingTasks, what has been the same ever since; all others are 0.

    Raises:
        ValueError: it is no formula, or asks for no number.
    """
    now = datetime.now(UTC) + later
    if unknown := metrics.keys() - METRICS:
        raise ValueError(f"no metric: {unknown}")

    def samples(metric: str, interval: timedelta) -> list[float]:
        count = max(0, (now - SAMPLE_DELAY - max(now - interval, created)) // SAMPLED_EVERY)
        return [float(metrics.get(metric, 0))] * count

    targets = dict(zip(TARGETS, (float(before.dedicated), float(before.spot)), strict=True))
    values = Evaluation(formula, now, samples, targets).run()
    if values.get(OPTION) != "taskcompletion":
        raise ValueError("nodes would be taken away from running tasks")
    dedicated, spot = (values.get(name, values.get(alias[1:])) for name, alias in TARGETS.items())
    if dedicated is None and spot is None:
        raise ValueError("the formula asks for no nodes")
    return Asked(int(dedicated or 0), int(spot or 0))
