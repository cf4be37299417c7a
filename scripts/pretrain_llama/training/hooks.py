"""Start a run's hooks beside its training, and hand their results on; what a hook does is in run/hooks.py.

A hook may fail, hang or be too slow: the training goes on, and says so.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.files import read_json
from pretrain_llama.launch.parent import end_with_parent
from pretrain_llama.run import hooks
from pretrain_llama.settings import HooksSettings

PROGRAM = Path(__file__).resolve().parents[2] / "run_hook.py"


class Hooks:
    """The hooks of a training, on its first process; one runs at a time, and the newest that is due waits for it."""

    def __init__(
        self,
        run_folder: Path,
        settings: HooksSettings | None,
        warn: Callable[..., None],
        took: Callable[[int, dict[str, float]], None] | None,
    ) -> None:
        """Prepare.

        Args:
            run_folder: of the training.
            settings: of run.yaml; None runs none.
            warn: writes an event and a message down.
            took: called with the iteration and the numbers of a hook that has ended; None where none is started.
        """
        self._run_folder, self._settings, self._warn, self._took = run_folder, settings, warn, took
        self._running: tuple[int, subprocess.Popen] | None = None
        self._waiting: int | None = None

    @property
    def every(self) -> int | None:
        """Optimizer steps between two hooks; None where there are none."""
        return self._settings["every_iterations"] if self._settings else None

    @property
    def in_use(self) -> list[Path]:
        """The checkpoints of the hooks that run and wait, which must stay."""
        iterations = [self._running[0] if self._running else None, self._waiting]
        checkpoints = self._run_folder / "output" / "checkpoints"
        return [torch_dist.iteration_folder(checkpoints, iteration) for iteration in iterations if iteration]

    def saved(self, iteration: int) -> None:
        """Start the hook of a checkpoint that was saved, where it is due."""
        self.poll()
        if self._settings is None or iteration % self._settings["every_iterations"]:
            return
        if self._running is None:
            self._start(iteration)
            return
        if left_out := self._waiting:
            running = f"that of iteration {self._running[0]} still runs"
            self._warn("hook_left_out", f"the hook of iteration {left_out}: {running}", iteration=left_out)
        self._waiting = iteration

    def _start(self, iteration: int) -> None:
        folder = hooks.folder_of(self._run_folder / "output", iteration)
        try:
            (folder / hooks.RESULT).unlink(missing_ok=True)
            command = [sys.executable, str(PROGRAM), str(self._run_folder), "--iteration", str(iteration)]
            process = subprocess.Popen(
                command,
                env=hooks.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=partial(end_with_parent, signal.SIGTERM),
            )
        except OSError as error:
            self._warn("hook_failed", f"the hook of iteration {iteration} did not start: {error}", iteration=iteration)
            return
        self._running = iteration, process

    def poll(self) -> None:
        """Take the result of a hook that has ended meanwhile, and start the one that waits."""
        if self._running is None or self._running[1].poll() is None:
            return
        iteration, process = self._running
        self._running = None
        result = self._result(iteration)
        if process.returncode:
            where = hooks.folder_of(self._run_folder / "output", iteration) / hooks.LOG
            failed = f"the hook of iteration {iteration} ended with exit code {process.returncode}, see {where}"
            self._warn("hook_failed", failed, iteration=iteration, exit_code=process.returncode)
        if self._took and (numbers := result.get("numbers")):
            self._took(iteration, numbers)
        if waiting := self._waiting:
            self._waiting = None
            self._start(waiting)

    def _result(self, iteration: int) -> dict[str, Any]:
        try:
            return read_json(hooks.folder_of(self._run_folder / "output", iteration) / hooks.RESULT)
        except (OSError, ValueError):  # it was killed, or the disk is full
            return {}

    def close(self, wait: bool) -> None:
        """Wait for the hooks that run and wait, which have a time limit; or end them."""
        while self._running:
            process = self._running[1]
            if not wait:
                self._waiting = None
                process.terminate()
            process.wait()
            self.poll()
