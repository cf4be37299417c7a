"""Start the processes of a training on this machine."""

import os
import signal
import socket
import subprocess
import time
from functools import partial
from types import FrameType

from pretrain_llama.errors import OperatorError
from pretrain_llama.launch.parent import end_with_parent

POLL_SECONDS = 0.2


def run_processes(command: list[str], count: int) -> None:
    """Run a command as `count` processes that know each other through the environment; wait for all.

    One process takes the place of this one. Of several, the first that fails ends the others, and SIGTERM is passed
    on, so that they save and end by themselves.

    Raises:
        OperatorError: a process failed; its own message stands above.
    """
    port = _free_port()
    if count == 1:
        os.execve(command[0], command, os.environ | _ranks(0, 1, port))
    processes = [
        subprocess.Popen(
            command,
            env=os.environ | _ranks(rank, count, port),
            preexec_fn=partial(end_with_parent, signal.SIGTERM),
        )
        for rank in range(count)
    ]

    def pass_on(number: int, _: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    try:
        _wait(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _wait(processes: list[subprocess.Popen]) -> None:
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes):
            if code:
                raise OperatorError(
                    f"process {rank} of {len(processes)} ended with exit code {code}",
                    where=" ".join(map(str, processes[rank].args)),  # type: ignore[arg-type]
                    action="see its message above",
                )
        if all(code == 0 for code in codes):
            return
        time.sleep(POLL_SECONDS)


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
