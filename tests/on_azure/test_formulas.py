"""The language of autoscale formulas, as far as it is emulated, and what is none."""

from datetime import UTC, datetime, timedelta

import pytest

from azure_emulator.autoscale import Asked, nodes_asked
from azure_emulator.formulas import Evaluation

END = "$NodeDeallocationOption = taskcompletion;"


def asked(formula: str, minutes: int = 30, **metrics: float) -> Asked:
    of = {f"${name}": value for name, value in metrics.items()}
    return nodes_asked(formula + END, datetime.now(UTC), timedelta(minutes=minutes), of)


@pytest.mark.parametrize(
    ("formula", "nodes"),
    [
        ("$TargetDedicatedNodes = 1 + 2 * 3;", 7),
        ("$TargetDedicatedNodes = (1 + 2) * 3;", 9),
        ("$TargetDedicated = 10 - 3 - 2;", 5),
        ("$TargetDedicatedNodes = 7 / 2;", 3),
        ("a = 2 < 3 && !(2 == 3); $TargetDedicatedNodes = $a ? 4 : 5;", 4),
        ("$a = 1 > 2 || 0; $TargetDedicatedNodes = a ? 4 : 0 ? 5 : 6;", 6),
        ("// ten\n$TargetDedicatedNodes /* of them */ = 10;", 10),
        ("v = $PendingTasks.GetSample(TimeInterval_Minute * 5); $TargetDedicatedNodes = avg(v * 2, 20) + len(v);", 20),
        ("$TargetDedicatedNodes = max(1, -2, sum(1, 2)) + min(4, 5) + range(1, 3) + norm(3, 4);", 14),
        (
            "t = time(); u = t + TimeInterval_Hour - t; $TargetDedicatedNodes = u == TimeInterval_Minute * 60 ? 1 : 0;",
            1,
        ),
    ],
)
def test_a_formula(formula: str, nodes: int) -> None:
    assert asked(formula, PendingTasks=6).dedicated == nodes


def test_both_kinds_of_nodes() -> None:
    assert asked("$TargetDedicatedNodes = 1; $TargetLowPriorityNodes = 2;") == Asked(1, 2)


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("$TargetDedicatedNodes = $Nonsense;", r"\$Nonsense is no variable of the service, and was not set before"),
        ("$TargetDedicatedNodes = 7 ** 2;", "';' is missing|middle|no variable"),
        ("$TargetDedicatedNodes = 7 // 2;", "';' is missing before"),
        ("$TargetDedicatedNodes = 7 % 2;", "no part of a formula: '% 2"),
        ("$TargetDedicatedNodes = [1][0];", "no part of a formula"),
        ("$TargetDedicatedNodes = if 1", "';' is missing before '1'|no variable"),
        ("$TargetDedicatedNodes = 1 if 1 else 2;", "';' is missing before 'if'"),
        ("$TargetDedicatedNodes = abs(1);", "no function of formulas"),
        ("$TargetDedicatedNodes = max();", "max\\(\\) needs numbers"),
        ("$TargetDedicatedNodes = 1 / 0;", "a division by zero"),
        ("$TargetDedicatedNodes = time();", "is no number"),
        ("$TargetDedicatedNodes = time() * 2;", "datetime \\* float: no such operator"),
        ("$TargetDedicatedNodes = time() < 2;", "datetime < float: no such operator"),
        ("$TargetDedicatedNodes = -time();", "no such operator"),
        ("$TargetDedicatedNodes = 1 ? 2 : time();", "two values of one type"),
        ("$TargetDedicatedNodes = $PendingTasks.GetSample(1);", "is not emulated"),
        ("$TargetDedicatedNodes = $PendingTasks;", "'.' is missing before ';'"),
        ("$PendingTasks = 1;", "\\$PendingTasks cannot be set"),
        ("3 = 1;", "3 cannot be set"),
        ("$TargetDedicatedNodes = ", "'=' is missing|middle of a statement|no variable"),
        ("$NodeDeallocationOption = whenever;", "is one of requeue, terminate, taskcompletion"),
        ("a = 1;", "asks for no nodes"),
    ],
)
def test_what_is_no_formula(formula: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        asked(formula)


def test_nodes_are_not_taken_from_running_tasks() -> None:
    with pytest.raises(ValueError, match="taken away from running tasks"):
        nodes_asked("$TargetDedicatedNodes = 1;", datetime.now(UTC), timedelta(), {})


def test_a_formula_that_ends_too_early() -> None:
    with pytest.raises(ValueError, match="ends in the middle"):
        Evaluation("a = ", datetime.now(UTC), lambda *_: [], {}).run()
