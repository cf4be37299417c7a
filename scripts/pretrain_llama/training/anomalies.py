"""Steps that must not be taken: a loss or a gradient that is no number, or far above those before.

Far above is more than so many standard deviations over the mean of the last 128 steps, for the loss or the norm of the
gradient, as in OLMo-core's SkipStepOptimizer (olmo_core/optim/skip_step_optimizer.py). Imports no torch.
"""

import math
import statistics
from collections import deque
from typing import Any

WINDOW = 128  # steps; OLMo-core's rolling_interval_length
NOT_FINITE, SPIKE = "not finite", "spike"
KINDS = (None, SPIKE, NOT_FINITE)  # by severity


class AnomalyDetector:
    """Judges steps by those before."""

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
        """Return the past, for a checkpoint."""
        return {"losses": list(self._losses), "norms": list(self._norms)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the past of a checkpoint."""
        self._losses = deque(state["losses"], maxlen=WINDOW)
        self._norms = deque(state["norms"], maxlen=WINDOW)
