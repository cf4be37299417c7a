"""Seconds by cause, of what happens one after the other."""

import time


class Laps:
    """A clock that is read now and then.

    Attributes:
        seconds: since it was read before, by what was done.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def end(self, what: str) -> None:
        """Note the seconds since the last time under a name."""
        now = time.perf_counter()
        self.seconds[what] = round(now - self._last, 3)
        self._last = now

    def __str__(self) -> str:
        parts = ", ".join(f"{what} {seconds:.1f}" for what, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.1f} s ({parts})"
