"""Read this process's ranks and the world size from the environment that a launcher sets.

    launcher                            rank           processes      on this node
    torchrun, AzureML, launch_training  RANK           WORLD_SIZE     LOCAL_RANK, LOCAL_WORLD_SIZE
    Open MPI (OMPI_COMM_WORLD_...)      ..._RANK       ..._SIZE       ..._LOCAL_RANK, ..._LOCAL_SIZE
    Slurm's srun                        SLURM_PROCID   SLURM_NTASKS   SLURM_LOCALID, SLURM_STEP_TASKS_PER_NODE

The first that is set counts, since it is the innermost: mpirun runs inside Slurm, torchrun inside either. None of them
means one process. Slurm's names alone, without a step of srun, do not count: a batch script has them, too.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pretrain_llama.errors import OperatorError

MPI_PORT = 29500  # torch's own default
SLURM_PORTS = range(20_000, 30_000)
# Steps that srun did not start, such as the shell of salloc and a batch script (slurm.h, SLURM_INTERACTIVE_STEP).
FIRST_OWN_STEP = 0xFFFFFFFA


@dataclass(frozen=True)
class Ranks:
    """rank: of all processes; local: of those on this node; world_size and local_world_size count them.

    The first process waits for the others at address:port; a process that is alone waits for none, and has neither.
    """

    rank: int = 0
    world_size: int = 1
    local: int = 0
    local_world_size: int = 1
    address: str | None = None
    port: int | None = None


def from_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Return this process's ranks.

    Raises:
        OperatorError: only some of a launcher's variables are set, or they contradict each other; gives their values.
    """
    ranks = _torch(environment) or _mpi(environment) or _slurm(environment) or Ranks()
    _check_within(ranks, environment)
    _check_alike(ranks, environment)
    return ranks


def _torch(environment: Mapping[str, str]) -> Ranks | None:
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} & set(environment):
        return None
    numbers = _integers(environment, "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
    if "MASTER_ADDR" not in environment:
        raise _incomplete("MASTER_ADDR", environment)
    local_world_size = _integer(environment, "LOCAL_WORLD_SIZE", 0) or max(numbers["LOCAL_RANK"] + 1, 1)
    return Ranks(
        numbers["RANK"],
        numbers["WORLD_SIZE"],
        numbers["LOCAL_RANK"],
        local_world_size,
        environment["MASTER_ADDR"],
        numbers["MASTER_PORT"],
    )


def _mpi(environment: Mapping[str, str]) -> Ranks | None:
    prefix = "OMPI_COMM_WORLD_"
    if not {f"{prefix}RANK", f"{prefix}SIZE"} & set(environment):
        return None
    found = _integers(environment, *(f"{prefix}{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")))
    rank, size, local, local_size = found.values()
    # AzureML names the first node AZ_BATCH_MASTER_NODE, as host:port.
    address = environment.get("MASTER_ADDR") or environment.get("AZ_BATCH_MASTER_NODE", "").partition(":")[0]
    if not address and size == local_size:
        address = "127.0.0.1"
    if not address:
        raise _incomplete("MASTER_ADDR", environment)
    return Ranks(rank, size, local, local_size, address, _integer(environment, "MASTER_PORT", MPI_PORT))


def _slurm(environment: Mapping[str, str]) -> Ranks | None:
    if not _is_in_step(environment):
        if _integer(environment, "SLURM_NTASKS", 1) > 1:
            raise OperatorError(
                f"one process in a Slurm job of {environment['SLURM_NTASKS']} tasks",
                where=_shown(environment),
                action="start it through srun, which starts one process a task",
            )
        return None
    numbers = _integers(environment, "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_JOB_ID")
    rank, size, local, job = numbers.values()
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    address = environment.get("MASTER_ADDR") or first_node(nodes) or environment.get("SLURM_LAUNCH_NODE_IPADDR")
    if environment.get("SLURM_STEP_NUM_NODES") == "1" and not environment.get("MASTER_ADDR"):
        address = "127.0.0.1"  # where nobody else on the network reaches it
    if not address:
        raise _incomplete("SLURM_STEP_NODELIST", environment)
    # Two jobs may share a node: each has a port of its own, which all its processes can tell.
    port = _integer(environment, "MASTER_PORT", SLURM_PORTS[job % len(SLURM_PORTS)])
    return Ranks(rank, size, local, _tasks_here(environment, local), address, port)


def _is_in_step(environment: Mapping[str, str]) -> bool:
    """Say whether srun started this process as a task of a step."""
    return "SLURM_STEP_ID" in environment and _integer(environment, "SLURM_STEP_ID") < FIRST_OWN_STEP


def _tasks_here(environment: Mapping[str, str], local: int) -> int:
    """Return how many tasks the fullest node has: SLURM_STEP_TASKS_PER_NODE is like 4(x2),3."""
    counts = re.findall(r"(\d+)(?:\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    return max([local + 1, *map(int, counts)])


def first_node(nodes: str) -> str | None:
    """Return the first host of a Slurm node list, such as gpu[003-007,010],login1; None of an empty one."""
    match = re.match(r"(?P<head>[^\[,]+)(?:\[(?P<first>\d+)[^\]]*\](?P<tail>[^\[,]*))?", nodes)
    return f"{match['head']}{match['first'] or ''}{match['tail'] or ''}" if match else None


def _integers(environment: Mapping[str, str], *names: str) -> dict[str, int]:
    for name in names:
        if name not in environment:
            raise _incomplete(name, environment)
    return {name: _integer(environment, name) for name in names}


def _integer(environment: Mapping[str, str], name: str, default: int = 0) -> int:
    try:
        return int(environment.get(name, default))
    except ValueError:
        raise OperatorError(
            f"{name} is {environment[name]!r}, a number expected",
            where=_shown(environment),
            action="unset it, or let the launcher set it",
        ) from None


def _check_within(ranks: Ranks, environment: Mapping[str, str]) -> None:
    if 0 <= ranks.rank < ranks.world_size and 0 <= ranks.local < ranks.local_world_size and ranks.local <= ranks.rank:
        return
    raise OperatorError(
        f"process {ranks.rank} of {ranks.world_size}, on its node {ranks.local} of {ranks.local_world_size}, cannot be",
        where=_shown(environment),
        action="start the training through launch_training.py, torchrun, srun, mpirun or an AzureML job",
    )


def _check_alike(ranks: Ranks, environment: Mapping[str, str]) -> None:
    """Check that RANK agrees with the outer launcher; skipped under torchrun, which assigns its own."""
    others = [("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")]
    if _is_in_step(environment):
        others.append(("SLURM_PROCID", "SLURM_NTASKS"))
    for name, size in others if "TORCHELASTIC_RUN_ID" not in environment else []:
        other = environment.get(name, str(ranks.rank))
        if environment.get(size) == str(ranks.world_size) and other != str(ranks.rank):
            raise OperatorError(
                f"this is process {ranks.rank} of {ranks.world_size} by one launcher, and {other} by another",
                where=_shown(environment),
                action="unset the variables that were exported for all processes alike",
            )


def _incomplete(name: str, environment: Mapping[str, str]) -> OperatorError:
    return OperatorError(
        f"{name} is not set, but other variables of a launcher are",
        where=_shown(environment),
        action="start the training through launch_training.py, torchrun, srun, mpirun or an AzureML job",
    )


def _shown(environment: Mapping[str, str]) -> str:
    """Return the launchers' variables that are set, with their values."""
    named = re.compile(
        r"(LOCAL_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|OMPI_COMM_WORLD_\w+|SLURM_(PROCID|NTASKS|LOCALID)"
    )
    shown = [f"{name}={value}" for name, value in sorted(environment.items()) if named.fullmatch(name)]
    return "the environment: " + " ".join(shown)
