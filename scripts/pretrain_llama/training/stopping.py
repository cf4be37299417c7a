"""Decide when a training has to end before its last iteration: on a signal, and at its time limit."""

import os
import signal
import time
from types import FrameType

# Slurm and Kubernetes send SIGTERM, a terminal's Ctrl-C SIGINT, and many templates of sbatch SIGUSR1.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
REASONS = (None, "time limit", *(number.name for number in SIGNALS))


class StopRequest:
    """Asked after each iteration; says why the training has to save and end."""

    def __init__(self, time_limit_seconds: float | None) -> None:
        """Listen to SIGNALS from now on; time_limit_seconds: from now, None is no limit."""
        self._deadline = time.monotonic() + time_limit_seconds if time_limit_seconds else None
        self._noted: str | None = None
        self._is_interrupted = False
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self._is_interrupted:  # whoever asks twice does not wait for a checkpoint
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._is_interrupted |= number == signal.SIGINT
        self._noted = self._noted or signal.Signals(number).name

    def reason(self) -> str | None:
        """Return why the training has to end, one of REASONS; None where it goes on."""
        if self._noted:
            return self._noted
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "time limit"
        return None

    def close(self) -> None:
        """Stop listening."""
        for number, before in self._before.items():
            signal.signal(number, before)
