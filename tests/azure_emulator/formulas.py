"""The language of the formula by which a pool scales: read, and evaluated.

https://learn.microsoft.com/azure/batch/batch-automatic-scaling describes it: up to 100 statements `name = expression;`
in 8 KB; doubles, vectors of them, times and intervals; operators by the types on their sides; C's ternary, of which
both sides are evaluated here, since nobody says that the service does not; comments as in C++. What stands there and is
not needed here is refused as not emulated, everything else as what it is.
"""

import math
import operator
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

MOST_BYTES, MOST_STATEMENTS = 8 << 10, 100
TOKEN = re.compile(
    r"\s*(?://[^\n]*|/\*.*?\*/|(?P<number>\d+(?:\.\d+)?)|(?P<text>\"[^\"]*\")|(?P<name>\$?[A-Za-z_]\w*)"
    r"|(?P<sign><=|>=|==|!=|&&|\|\||[-+*/<>!?:;=(),.]))",
    re.S,
)
INTERVALS = {
    f"TimeInterval_{name}": timedelta(**{unit: 1})
    for name, unit in {"Second": "seconds", "Minute": "minutes", "Hour": "hours", "Day": "days"}.items()
}
# What may be set, and the other name of it.
TARGETS = {"$TargetDedicatedNodes": "$TargetDedicated", "$TargetLowPriorityNodes": "$TargetLowPriority"}
OPTION = "$NodeDeallocationOption"
OPTIONS = ("requeue", "terminate", "taskcompletion", "retaineddata")
METRICS = {
    "$CPUPercent",
    "$ActiveTasks",
    "$RunningTasks",
    "$PendingTasks",
    "$SucceededTasks",
    "$FailedTasks",
    "$SampleNodeCount",
    "$CurrentDedicatedNodes",
    "$CurrentLowPriorityNodes",
    "$PreemptedNodeCount",
}
# Operators, weakest first.
LEVELS = [("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/")]
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
# Types on the two sides of an operator that the service has; vectors are taken item by item.
KNOWN = {
    (float, float): "+-*/",
    (float, timedelta): "*",
    (timedelta, float): "*/",
    (timedelta, timedelta): "+-",
    (timedelta, datetime): "+",
    (datetime, timedelta): "+",
    (datetime, datetime): "-",
}
FUNCTIONS: dict[str, Callable[[list[float]], float]] = {
    "avg": lambda v: sum(v) / len(v),
    "len": lambda v: float(len(v)),
    "max": max,
    "min": min,
    "norm": lambda v: math.hypot(*v),
    "range": lambda v: max(v) - min(v),
    "sum": lambda v: float(sum(v)),
}


def tokens_of(formula: str) -> list[str]:
    """Cut a formula into numbers, texts, names and signs; comments go.

    Raises:
        ValueError: it is too long, or has something else.
    """
    if len(formula.encode()) > MOST_BYTES:
        raise ValueError(f"the formula has more than {MOST_BYTES} bytes")
    tokens, at = [], 0
    text = formula.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"no part of a formula: {text[at : at + 20].strip()!r}")
        at = match.end()
        tokens += [match[match.lastgroup]] if match.lastgroup else []
    return tokens


class Evaluation:
    """Evaluates a formula; `values` are the metrics and, afterwards, all that the formula set.

    Args:
        formula: its text.
        now: what time() is.
        samples: of each metric the samples of an interval, oldest first.
        targets: how many nodes were asked for before, by the names of TARGETS.
    """

    def __init__(
        self,
        formula: str,
        now: datetime,
        samples: Callable[[str, timedelta], list[float]],
        targets: dict[str, float],
    ) -> None:
        self._tokens, self._at = tokens_of(formula), 0
        self._now, self._samples, self._targets = now, samples, targets
        self.values: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Return what was set, by name.

        Raises:
            ValueError: it is no formula, or cannot be evaluated.
        """
        statements = 0
        while self._at < len(self._tokens):
            self._statement()
            statements += 1
        if statements > MOST_STATEMENTS:
            raise ValueError(f"the formula has more than {MOST_STATEMENTS} statements")
        return self.values

    def _statement(self) -> None:
        name = self._next()
        self._expect("=")
        if name in METRICS or name in INTERVALS or name in OPTIONS or not re.match(r"\$?[A-Za-z_]", name):
            raise ValueError(f"{name} cannot be set")
        if name == OPTION:
            value: Any = self._next()
            if value not in OPTIONS:
                raise ValueError(f"{OPTION} is one of {', '.join(OPTIONS)}, and not {value}")
        else:
            value = self._ternary()
        self._expect(";")
        if name in (*TARGETS, *TARGETS.values()) and type(value) is not float:
            raise ValueError(f"{name} is no number")
        self.values[name if name == OPTION or name in TARGETS else name.removeprefix("$")] = value

    def _ternary(self) -> Any:
        condition = self._binary(0)
        if self._peek() != "?":
            return condition
        self._next()
        yes = self._ternary()
        self._expect(":")
        no = self._ternary()
        if type(condition) is not float or type(yes) is not type(no):
            raise ValueError("? needs a number, and two values of one type")
        return yes if condition else no

    def _binary(self, level: int) -> Any:
        if level == len(LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while (sign := self._peek()) in LEVELS[level]:
            self._next()
            left = _apply(sign, left, self._binary(level + 1))
        return left

    def _unary(self) -> Any:
        if self._peek() in ("-", "!"):
            sign, value = self._next(), self._unary()
            if type(value) is float:
                return -value if sign == "-" else float(not value)
            if type(value) is timedelta and sign == "-":
                return -value
            raise ValueError(f"{sign} {value!r}: no such operator")
        return self._primary()

    def _primary(self) -> Any:
        token = self._next()
        if token == "(":
            value = self._ternary()
            self._expect(")")
            return value
        if token[0].isdigit():
            return float(token)
        if token[0] == '"':
            return token[1:-1]
        if token in METRICS:
            return self._method(token)
        if self._peek() == "(":
            return self._function(token)
        return self._variable(token)

    def _variable(self, name: str) -> Any:
        if name in INTERVALS:
            return INTERVALS[name]
        if (key := name if name in TARGETS else name.removeprefix("$")) in self.values:
            return self.values[key]
        if name in self._targets:
            return self._targets[name]
        raise ValueError(f"{name} is no variable of the service, and was not set before")

    def _arguments(self) -> list[Any]:
        self._expect("(")
        found: list[Any] = []
        while self._peek() != ")":
            found.append(self._ternary())
            if self._peek() != ")":
                self._expect(",")
        self._next()
        return found

    def _function(self, name: str) -> Any:
        arguments = self._arguments()
        if name == "time" and not arguments:
            return self._now
        if name == "time" and len(arguments) == 1 and type(arguments[0]) is str:
            return datetime.strptime(arguments[0], "%Y-%m-%dT%H:%M:%S%z")
        if name not in FUNCTIONS:
            raise ValueError(f"{name}() is no function of formulas, or not emulated")
        vector = [item for a in arguments for item in (a if type(a) is list else [a])]
        if not vector or any(type(item) is not float for item in vector):
            raise ValueError(f"{name}() needs numbers")
        return FUNCTIONS[name](vector)

    def _method(self, metric: str) -> list[float]:
        self._expect(".")
        method, arguments = self._next(), self._arguments()
        if method != "GetSample" or len(arguments) != 1 or type(arguments[0]) is not timedelta:
            raise ValueError(f"{metric}.{method}() of {len(arguments)} arguments is not emulated")
        return self._samples(metric, arguments[0])

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        if not (token := self._peek()):
            raise ValueError("the formula ends in the middle of a statement")
        self._at += 1
        return token

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            raise ValueError(f"{sign!r} is missing before {self._peek() or 'the end'!r}")
        self._at += 1


def _apply(sign: str, left: Any, right: Any) -> Any:
    if list in (type(left), type(right)) and sign in ARITHMETIC:
        size = len(left if type(left) is list else right)
        lefts, rights = (side if type(side) is list else [side] * size for side in (left, right))
        return [_apply(sign, a, b) for a, b in zip(lefts, rights, strict=True)]
    if sign in ("&&", "||") and type(left) is type(right) is float:
        return float(bool(left and right) if sign == "&&" else bool(left or right))
    if sign in COMPARISONS and type(left) is type(right) is not list:
        return float(COMPARISONS[sign](left, right))
    if sign in KNOWN.get((type(left), type(right)), ""):
        try:
            return ARITHMETIC[sign](left, right)
        except ZeroDivisionError:
            raise ValueError("a division by zero") from None
    raise ValueError(f"{type(left).__name__} {sign} {type(right).__name__}: no such operator")
