"""Errors that a person can act on: one class per person who must act, each message built from values."""

import sys
from collections.abc import Callable, Sequence

SHOWN = 5  # of what a message lists


class PretrainError(Exception):
    """A problem with a value, the place where it stands, and the next action.

    The subclass says who must act.
    """

    who = "us"

    def __init__(self, problem: str, *, where: object, action: str) -> None:
        super().__init__(f"{problem}\n  where: {where}\n  next:  {action}")


class ConfigError(PretrainError):
    """The author of the configuration must act."""

    who = "configuration"


class DataError(PretrainError):
    """The owner of the data must act."""

    who = "data"


class OperatorError(PretrainError):
    """Whoever runs the workflow must act: a machine, a file system, a run's state."""

    who = "operation"


def listed(items: Sequence[str], separator: str = ", ", shown: int = SHOWN) -> str:
    """Return the first of some items for a message, and how many more there are."""
    more = [f"and {len(items) - shown:,} more"] * (len(items) > shown)
    return separator.join([*items[:shown], *more])


def run_program(main: Callable[[], None]) -> None:
    """Run a program's main; a PretrainError becomes one readable message and exit code 2."""
    try:
        main()
    except PretrainError as error:
        print(f"{error.who} error: {error}", file=sys.stderr)
        sys.exit(2)
