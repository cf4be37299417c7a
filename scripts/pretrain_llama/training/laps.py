"""A stopwatch: seconds of each start-up stage."""

import time


class Laps:
    """A stopwatch for stages that follow one another.

    Attributes:
        seconds: since it was read before, by what was done.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def end(self, what: str) -> None:
        """Record the seconds since the last call under a name."""
        now = time.perf_counter()
        self.seconds[what] = round(now - self._last, 3)
        self._last = now

    def __str__(self) -> str:
        parts = ", ".join(f"{what} {seconds:.1f}" for what, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.1f} s ({parts})"
