"""Start the processes of a training on this machine."""

import os
import socket
import subprocess
import time

from pretrain_llama.errors import OperatorError

POLL_SECONDS = 0.2


def run_processes(command: list[str], count: int) -> None:
    """Run a command as `count` processes that know each other through the environment; wait for all.

    The first that fails ends the others.

    Raises:
        OperatorError: a process failed; its own message stands above.
    """
    if count == 1:
        processes = [subprocess.Popen(command)]
    else:
        port = _free_port()
        processes = [subprocess.Popen(command, env=os.environ | _ranks(rank, count, port)) for rank in range(count)]
    try:
        _wait(processes)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _wait(processes: list[subprocess.Popen]) -> None:
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes):
            if code:
                raise OperatorError(
                    f"process {rank} of {len(processes)} ended with exit code {code}",
                    where=" ".join(processes[rank].args),
                    action="see its message above; the same command resumes from the newest checkpoint",
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
