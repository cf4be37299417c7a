"""Decide when a training has to end before its last iteration: on SIGTERM, and at its time limit."""

import signal
import time
from types import FrameType

REASONS = (None, "time limit", "SIGTERM")


class StopRequest:
    """Asked after each iteration; says why the training has to save and end."""

    def __init__(self, time_limit_seconds: float | None) -> None:
        """Listen to SIGTERM from now on; time_limit_seconds: from now, None is no limit."""
        self._deadline = time.monotonic() + time_limit_seconds if time_limit_seconds else None
        self._terminated = False
        self._before = signal.signal(signal.SIGTERM, self._note)

    def _note(self, _: int, __: FrameType | None) -> None:
        self._terminated = True

    def reason(self) -> str | None:
        """Return why the training has to end, one of REASONS; None where it goes on."""
        if self._terminated:
            return "SIGTERM"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "time limit"
        return None

    def close(self) -> None:
        """Stop listening."""
        signal.signal(signal.SIGTERM, self._before)
