"""Detect steps that must not be taken: a loss or gradient that is no number, or far above those before.

Far above is more than so many standard deviations over the mean of the last 128 steps, for the loss or the norm of the
gradient, as in OLMo-core's SkipStepOptimizer (olmo_core/optim/skip_step_optimizer.py).
"""

import math
import statistics
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pretrain_llama.errors import OperatorError
from pretrain_llama.settings import OperationSettings

WINDOW = 128  # steps; OLMo-core's rolling_interval_length
NOT_FINITE, SPIKE = "not finite", "spike"
KINDS = (None, SPIKE, NOT_FINITE)  # by severity
STOP, SKIP, REWIND = "stop", "skip", "rewind"


class AnomalyDetector:
    """Judges each step by the ones before it."""

    def __init__(self, deviations: float) -> None:
        """Begin without a past; deviations: standard deviations above the mean that make a spike."""
        self._deviations = deviations
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._norms: deque[float] = deque(maxlen=WINDOW)

    def judge(self, loss: float, norm: float) -> str | None:
        """Return what is wrong with a step, or None; a finite one is remembered, so that a new level becomes normal."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return NOT_FINITE
        is_spike = self._is_far(loss, self._losses) or self._is_far(norm, self._norms)
        self._losses.append(loss)
        self._norms.append(norm)
        return SPIKE if is_spike else None

    def _is_far(self, value: float, past: deque[float]) -> bool:
        if len(past) < WINDOW // 2:
            return False
        return value > statistics.fmean(past) + self._deviations * statistics.pstdev(past)

    def state(self) -> dict[str, list[float]]:
        """Return the steps remembered, for a checkpoint."""
        return {"losses": list(self._losses), "norms": list(self._norms)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the past of a checkpoint."""
        self._losses = deque(state["losses"], maxlen=WINDOW)
        self._norms = deque(state["norms"], maxlen=WINDOW)


class AnomalyPolicy:
    """What a run does about anomalies, as operation of run.yaml says, and how often it did so.

    Attributes:
        skipped_steps: of the whole training.
        skips_in_a_row: up to now.
        rewinds: since the start of the run.
    """

    def __init__(self, operation: OperationSettings, output: Path, note: Callable[..., None]) -> None:
        """Begin; output: named in errors; note: writes an event and a message down."""
        self.skipped_steps = self.skips_in_a_row = self.rewinds = 0
        self._operation, self._output, self._note = operation, output, note

    def restore(self, skipped_steps: int, skips_in_a_row: int, rewinds: int) -> None:
        """Go on from the counts of a resumed training: a restart is no fresh attempt."""
        self.skipped_steps, self.skips_in_a_row, self.rewinds = skipped_steps, skips_in_a_row, rewinds

    def act(self, anomaly: str | None, iteration: int, loss: float, norm: float) -> str | None:
        """Return SKIP or REWIND where that is to be done about a step, None where it is to be taken.

        Args:
            anomaly: of KINDS.
            iteration: that the step would complete.
            loss, norm: of the step, for the messages.

        Raises:
            OperatorError: the training has to stop.
        """
        policy = self._operation["on_not_finite" if anomaly == NOT_FINITE else "on_spike"] if anomaly else "ignore"
        if policy != SKIP:
            self.skips_in_a_row = 0
        if policy == "ignore":
            return None
        step = f"{anomaly} at iteration {iteration}: loss {loss:.6g}, gradient norm {norm:.6g}"
        limit = self._operation["anomaly_limit"]
        is_over = {STOP: False, SKIP: self.skips_in_a_row >= limit, REWIND: self.rewinds >= limit}[policy]
        action = STOP if is_over else policy
        self._note(action, step, iteration=iteration, anomaly=anomaly, loss=loss, norm=norm)
        if action == STOP:
            often = f"{limit} times{' in a row' if policy == SKIP else ' since the start of the run'}"
            raise OperatorError(
                step + (f"; {policy} was done {often}, which is anomaly_limit" if is_over else ""),
                where=self._output / "log.jsonl",
                action="look at the losses before; lower the learning rate, or resume with "
                + ("a higher anomaly_limit" if is_over else "on_not_finite or on_spike: skip or rewind")
                + " in run.yaml",
            )
        if action == SKIP:
            self.skipped_steps += 1
            self.skips_in_a_row += 1
        self.rewinds += action == REWIND
        return action
