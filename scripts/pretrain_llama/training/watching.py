"""Watch how a training computes: a trace of some iterations, and how long the slowest and the fastest process took."""

import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.profiler import ProfilerActivity, profile, tensorboard_trace_handler

from pretrain_llama.settings import ProfileSettings

TRACES = "profile"  # in output/


class Tracer:
    """Traces the iterations that `profile` of run.yaml names, on the processes that it names."""

    def __init__(self, settings: ProfileSettings | None, rank: int, output: Path) -> None:
        """Prepare.

        Args:
            settings: None traces nothing.
            rank: of this process.
            output: of the run; the trace lies in a folder of it.
        """
        is_chosen = settings is not None and rank in settings["ranks"]
        self._first, self._last = settings["iterations"] if settings and is_chosen else (0, 0)
        self._rank, self._folder = rank, output / TRACES
        self._profiler: Any = None

    def begin(self, iteration: int) -> None:
        """Begin a trace where this iteration is the first of it."""
        if iteration == self._first:
            activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
            handler = tensorboard_trace_handler(str(self._folder), worker_name=f"rank_{self._rank:05d}")
            self._profiler = profile(activities=activities, on_trace_ready=handler, record_shapes=True)
            self._profiler.start()

    def end(self, iteration: int) -> None:
        """Write the trace where this iteration is the last of it; one that never comes leaves none."""
        if self._profiler is not None and iteration >= self._last:
            self._profiler.stop()
            self._profiler = None


class Clock:
    """Measures how long a process computes in a step before it waits for the gradients of the others.

    Whole steps take all processes equally long, since each waits for the slowest.
    """

    def __init__(self) -> None:
        """Use the clock of the GPU, where there is one: its work goes on when Python has gone further."""
        self._is_cuda = torch.cuda.is_available()
        self._began: Any = None
        self._ready: Any = None

    def begin(self) -> None:
        """Begin a step."""
        self._began, self._ready = self._now(), None

    def ready(self) -> None:
        """The gradients of this process are computed."""
        self._ready = self._now()

    def _now(self) -> Any:
        if not self._is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def slowest_and_fastest(self) -> str:
        """Return a line on the last step, the same on every process; every process calls it, after the step."""
        own = self._began.elapsed_time(self._ready) / 1000 if self._is_cuda else self._ready - self._began
        device = "cuda" if self._is_cuda else "cpu"
        seconds = [torch.zeros((), dtype=torch.float64, device=device) for _ in range(dist.get_world_size())]
        dist.all_gather(seconds, torch.tensor(own, dtype=torch.float64, device=device))
        taken = [each.item() for each in seconds]
        slowest, fastest = max(taken), min(taken)
        return (
            f"until gradients were ready: rank {taken.index(slowest)} took {slowest:.3f} s, the slowest; "
            f"rank {taken.index(fastest)} {fastest:.3f} s"
        )
