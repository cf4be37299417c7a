"""Run a list of checks: print a line for each, and compute one exit code for all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ALL_OK, SOMETHING_FAILED, SOMETHING_UNKNOWN = 0, 1, 2


@dataclass(frozen=True)
class Passed:
    """A check that passed: what was seen, in words, and a value for later checks."""

    seen: str
    value: Any = True


class Failed(Exception):
    """What a check found wrong, and the next action."""

    def __init__(self, problem: str, action: str) -> None:
        super().__init__(f"{problem}; next: {action}")


class Unknown(Failed):
    """A check that could not be made: the reason, and the next action."""


class Report:
    """Runs checks in order and prints a line for each, with the number of the step that it belongs to."""

    def __init__(self, write: Callable[[str], None] = print) -> None:
        self._write = write
        self._failed, self._unknown = 0, 0
        self._step = ""

    def begin(self, step: int) -> None:
        """Let the checks that follow belong to a step."""
        self._step = f"{step}  "

    def check(self, title: str, check: Callable[..., Passed], *needs: Any) -> Any:
        """Run a check on what earlier ones returned; return its value, or None where it did not pass.

        A need that is None stands for a check that did not pass: then this one is not made.
        """
        try:
            if any(need is None for need in needs):
                raise Unknown("it needs what another line did not give", "act on that line first")
            passed = check(*needs)
        except Unknown as unknown:
            self._unknown += 1
            self._write(f"could not check  {self._step}{title}: {unknown}")
        except Failed as failed:
            self._failed += 1
            self._write(f"FAIL             {self._step}{title}: {failed}")
        else:
            self._write(f"ok               {self._step}{title}: {passed.seen}")
            return passed.value
        return None

    def exit_code(self) -> int:
        """0: all is well. 1: a check failed. 2: none failed, but some could not be made."""
        if self._failed:
            return SOMETHING_FAILED
        return SOMETHING_UNKNOWN if self._unknown else ALL_OK
