"""Start the processes of a training on this machine."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from types import FrameType

from pretrain_llama.errors import EXIT_CODE, INTERRUPTED, OperatorError
from pretrain_llama.launch.parent import end_with_parent

POLL_SECONDS = 0.2
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
LAST_WORDS_SECONDS = 5.0  # one process may end without a message while another still writes it


def run_processes(command: list[str], count: int) -> None:
    """Run a command as `count` processes that find each other through the environment; wait for all.

    A single process replaces this one. Of several, the first that fails ends the others, a moment later, and
    PASSED_ON are passed on, so that they save and end by themselves; they are a process group of their own, so that a
    terminal's Ctrl-C comes to them once. Where one has said what a person can act on, that
    stays the last message, and its exit code is this program's.

    Raises:
        OperatorError: a process failed otherwise; what it printed stands above.
    """
    port = _free_port()
    if count == 1:
        os.execve(command[0], command, os.environ | _ranks(0, 1, port))
    processes = [
        subprocess.Popen(
            command,
            env=os.environ | _ranks(rank, count, port),
            preexec_fn=partial(end_with_parent, signal.SIGTERM),
            process_group=0,
        )
        for rank in range(count)
    ]
    interrupts = 0

    def pass_on(number: int, _: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        for process in processes:
            process.send_signal(number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    try:
        codes = _wait(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if interrupts > 1:
        sys.exit(INTERRUPTED)
    _check(processes, codes)


def _wait(processes: list[subprocess.Popen]) -> list[int | None]:
    """Return the exit codes when all have ended, or when one has failed and the others had time to end."""
    deadline = math.inf
    while None in (codes := [process.poll() for process in processes]) and time.monotonic() < deadline:
        if any(codes):
            deadline = min(deadline, time.monotonic() + LAST_WORDS_SECONDS)
        time.sleep(POLL_SECONDS)
    return codes


def _check(processes: list[subprocess.Popen], codes: list[int | None]) -> None:
    if EXIT_CODE in codes:
        sys.exit(EXIT_CODE)
    for rank, code in enumerate(codes):
        if code:
            raise OperatorError(
                f"process {rank} of {len(processes)} ended with exit code {code}",
                where=" ".join(map(str, processes[rank].args)),  # type: ignore[arg-type]
                action="see its message above",
            )


def _ranks(rank: int, count: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
