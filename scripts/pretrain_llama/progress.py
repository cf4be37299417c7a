"""Show progress on long work: a bar in a terminal, a line every few seconds in a log file."""

import sys
import time

from tqdm import tqdm

LOG_EVERY_SECONDS = 10.0


class Progress:
    """Count work done towards a known total; use as a context manager.

    Args:
        total: the whole, in `unit`.
        unit: what is counted, e.g. "B".
        title: what is being done.
    """

    def __init__(self, total: int, unit: str, title: str) -> None:
        self._total, self._unit, self._title = total, unit, title
        self._done, self._start = 0, time.monotonic()
        self._next_line = self._start + LOG_EVERY_SECONDS
        self._bar = tqdm(total=total, unit=unit, unit_scale=True, desc=title) if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        return self

    def advance(self, amount: int) -> None:
        """Add an amount of work done, in the unit of the total."""
        self._done += amount
        if self._bar is not None:
            self._bar.update(amount)
        elif time.monotonic() >= self._next_line:
            self._print_line()
            self._next_line += LOG_EVERY_SECONDS

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        else:
            self._print_line()

    def _print_line(self) -> None:
        elapsed = time.monotonic() - self._start
        share = 100 * self._done / self._total if self._total else 100
        rate = self._done / elapsed if elapsed else 0
        left = f", {(self._total - self._done) / rate:.0f} s left" if rate and self._done < self._total else ""
        print(
            f"{self._title}: {share:.0f} %, {self._done:,} of {self._total:,} {self._unit}, "
            f"{rate:,.0f} {self._unit}/s, {elapsed:.0f} s{left}",
            file=sys.stderr,
            flush=True,
        )
