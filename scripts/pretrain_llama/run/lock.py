"""Lock a run's output, output/.lock: one process at a time trains the run, or writes its folder."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pretrain_llama.errors import OperatorError

NAME = ".lock"


@contextmanager
def held(output: Path, wait_seconds: float, problem: str) -> Iterator[None]:
    """Hold a run's output for the length of a block.

    Args:
        output: of the run; it is there.
        wait_seconds: for whoever holds it.
        problem: to say if they do not let go.

    Raises:
        OperatorError: a training of this machine, or of one with the same file system, holds it.
    """
    with open(output / NAME, "w") as file:
        _lock(file.fileno(), output, wait_seconds, problem)
        yield


def _lock(file: int, output: Path, wait_seconds: float, problem: str) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OperatorError(
                    problem, where=output, action="wait for it, or end it: ps -ef | grep train.py"
                ) from None
            time.sleep(0.5)
        except OSError:  # a file system without locks
            return
