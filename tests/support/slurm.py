"""A Slurm of one node on this machine: the real daemons, with a generated slurm.conf, for as long as a block runs."""

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from processes import free_ports, wait_for

DAEMONS = ("munged", "slurmctld", "slurmd")
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 300, 60, 0.1  # for what hangs

# The node claims more CPUs and memory (MB) than this machine has, so that the shipped profile fits as it is. Ended jobs
# stay known for MinJobAge seconds; a requeued job waits cred_expire seconds, and the next look of the scheduler.
# Processes of a job find each other by the node's name.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
MinJobAge=3600
SchedulerParameters=sched_interval=1
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=64 RealMemory=1000000
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE
"""

# Inside a job, the executor plugin starts srun without the SLURM_CONF that it was given.
SRUN = """\
#!/bin/sh
export SLURM_CONF={folder}/slurm.conf
exec {srun} "$@"
"""


@dataclass(frozen=True)
class Job:
    """A job as squeue has it; memory and time_limit are as Slurm writes them."""

    id: int
    state: str
    rule: str
    wildcards: str
    cpus: int
    memory: str
    time_limit: str
    requeue: bool


def installed() -> bool:
    """Whether the daemons are on this machine."""
    return all(shutil.which(daemon, path=_path()) for daemon in DAEMONS)


def jobs(folder: Path) -> list[Job]:
    """The jobs that were submitted from a folder, ended ones too, in the order of submission."""
    found = []
    for line in _output("squeue", "--states=all", "--noheader", "--format=%i|%T|%k|%C|%m|%l|%Z").splitlines():
        number, state, comment, cpus, memory, time_limit, workdir = line.split("|")
        if workdir == str(folder):
            rule, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
            requeue = "Requeue=1" in _output("scontrol", "show", "job", number)
            found.append(Job(int(number), state, rule, wildcards, int(cpus), memory, time_limit, requeue))
    return sorted(found, key=lambda job: job.id)


@contextlib.contextmanager
def running_slurm() -> Iterator[None]:
    """Start munged, slurmctld and slurmd, and point the environment at them; end them with the block.

    Raises:
        RuntimeError: the node is not ready in START_SECONDS; the daemons' last lines are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, contextlib.ExitStack() as daemons:
        folder = Path(name)
        folder.chmod(0o755)  # munged wants its socket within everybody's reach
        _configure(folder)
        environment = daemons.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        environment.setenv("PATH", f"{folder / 'bin'}:{_path()}")
        munge = [f"--{part}-file={folder / 'munge'}.{part}" for part in ("key", "pid", "log", "seed")]
        daemons.enter_context(_daemon(folder, "munged", "--foreground", f"--socket={folder / 'munge.socket'}", *munge))
        _wait_for((folder / "munge.socket").exists, folder)
        daemons.enter_context(_daemon(folder, "slurmctld", "-D"))
        daemons.enter_context(_daemon(folder, "slurmd", "-D"))
        _wait_for(lambda: _output("sinfo", "--noheader", "--format=%T").strip() == "idle", folder)
        daemons.callback(_end_jobs)
        yield


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin"


def _configure(folder: Path) -> None:
    for part in ("state", "spool", "bin"):
        (folder / part).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(64))
    (folder / "munge.key").chmod(0o600)
    host, user = socket.gethostname().split(".")[0], getpass.getuser()
    settings = CONFIGURATION.format(folder=folder, host=host, user=user, ports=free_ports(2))
    (folder / "slurm.conf").write_text(settings)
    (folder / "bin" / "srun").write_text(SRUN.format(folder=folder, srun=shutil.which("srun")))
    (folder / "bin" / "srun").chmod(0o755)


@contextlib.contextmanager
def _daemon(folder: Path, *command: str) -> Iterator[None]:
    with open(folder / f"{command[0]}.out", "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(ready: Callable[[], bool], folder: Path) -> None:
    try:
        wait_for(ready, START_SECONDS)
    except AssertionError:
        said = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.out")))
        raise RuntimeError(f"Slurm is not ready after {START_SECONDS} seconds; its daemons say:\n{said}") from None


def _end_jobs() -> None:
    """Leave no job of a failed test behind."""
    _output("scancel", f"--user={getpass.getuser()}")
    deadline = time.monotonic() + STOP_SECONDS
    while _output("squeue", "--noheader") and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout
