"""Set up process groups: torch.distributed and megatron-core's parallel groups, on CPU (gloo) or GPU (nccl)."""

import errno
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state, tensor_parallel

from pretrain_llama.errors import EXIT_CODE, ConfigError, OperatorError, PretrainError, end_at_once
from pretrain_llama.run.ranks import Ranks
from pretrain_llama.training import cpu

# Others wait at most so long for the first process to build an index or to hash a checkpoint, and for one that hangs;
# megatron-core's groups have the same. NCCL's default, 10 minutes, is too short for the first.
TIMEOUT = timedelta(minutes=30)
ALONE = Ranks()
LOOPBACK = "127.0.0.1"
BACKLOG = 4096  # processes that come at once; the system's somaxconn limits it


@contextmanager
def process_groups(tensor: int, pipeline: int, where: str, own: Ranks = ALONE) -> Iterator[torch.device]:
    """Join the other processes of the training for the length of a block; yields this process's device.

    Args:
        tensor: tensor parallel size.
        pipeline: pipeline parallel size.
        where: the sizes are configured, for the message.
        own: this process's ranks.

    Raises:
        ConfigError: the number of processes is no multiple of tensor x pipeline.
        OperatorError: there are fewer GPUs here than processes, or they cannot meet: the port is taken, say.
    """
    if own.world_size % (tensor * pipeline):
        raise ConfigError(
            f"{own.world_size} processes cannot be cut into groups of tensor {tensor} x pipeline {pipeline}",
            where=where,
            action=f"start a multiple of {tensor * pipeline} processes, or change the parallel sizes",
        )
    with meeting(own) as device:
        try:
            parallel_state.initialize_model_parallel(tensor, pipeline)
            yield device
        finally:
            parallel_state.destroy_model_parallel()


@contextmanager
def meeting(own: Ranks) -> Iterator[torch.device]:
    """Join torch.distributed for the length of a block; yields this process's device.

    Raises:
        OperatorError: there are fewer GPUs here than processes, or they cannot meet: the port is taken, say.
    """
    cpu.install()
    device = _take_device(own)
    with tempfile.TemporaryDirectory() as folder:
        backend = "nccl" if device.type == "cuda" else "gloo"
        try:
            store = meeting_store(own, folder)
            dist.init_process_group(backend, None, TIMEOUT, rank=own.rank, world_size=own.world_size, store=store)
        except (dist.DistNetworkError, OSError, OverflowError) as error:
            raise OperatorError(
                f"process {own.rank} of {own.world_size} cannot meet the others: {str(error).splitlines()[0]}",
                where=f"MASTER_ADDR and MASTER_PORT: {own.address}:{own.port}",
                action="choose another MASTER_PORT if it is taken, or an address that all nodes reach",
            ) from None
        try:
            yield device
        except BaseException as error:
            if own.world_size > 1:
                # Leaving the groups would wait for the others, who wait for this process: NCCL's for half an hour.
                end_at_once(error)
            dist.destroy_process_group()
            raise
        dist.destroy_process_group()


def meeting_store(own: Ranks, folder: str) -> dist.Store:
    """Return the store through which the processes of a training find each other.

    The first process listens at MASTER_ADDR alone, where torch's own rendezvous listens on all interfaces, to
    whoever asks. Between processes of one machine, what gloo and NCCL open stays on loopback, too. Under torchrun, its
    agent has the store.

    Args:
        own: this process's ranks.
        folder: private, for a process that is alone: it meets nobody, and a file needs no free port.

    Raises:
        OSError, DistNetworkError: the port is taken, or the first process cannot be reached.
    """
    if own.address is None or own.port is None:
        _stay_on_loopback()
        return dist.FileStore(f"{folder}/store", own.world_size)
    listening = None
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" and own.rank == 0:
        listening = _listen(own.address, own.port)
    if own.address == LOOPBACK:
        _stay_on_loopback()
    return dist.TCPStore(
        own.address,
        own.port,
        own.world_size,
        listening is not None,
        TIMEOUT,
        multi_tenant=listening is None,
        master_listen_fd=listening.detach() if listening else None,
    )


def _listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; on all of this machine, where that is a translated one."""
    try:
        return socket.create_server((address, port), backlog=BACKLOG)
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        return socket.create_server(("", port), backlog=BACKLOG)


def _stay_on_loopback() -> None:
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")


def _take_device(own: Ranks) -> torch.device:
    if not torch.cuda.is_available():
        if "OMP_NUM_THREADS" not in os.environ:  # torch would give each process all cores
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // own.local_world_size))
        return torch.device("cpu")
    if own.local >= torch.cuda.device_count():
        raise OperatorError(
            f"process {own.local} of this node has no GPU: there are {torch.cuda.device_count()}",
            where="the node",
            action="start as many processes a node as it has GPUs",
        )
    device = torch.device("cuda", own.local)
    torch.cuda.set_device(device)
    return device


def seed_everything(seed: int) -> None:
    """Seed torch and megatron-core's tensor parallel random states."""
    torch.manual_seed(seed)
    tensor_parallel.model_parallel_cuda_manual_seed(seed)


def on_first_process[Result](action: Callable[[], Result]) -> Result:
    """Run something on the first process only, and return its result on all.

    Raises:
        PretrainError: on the first process, what it raised; the others then end without a message.
    """
    result, failure = None, None
    if dist.get_rank() == 0:
        try:
            result = action()
        except PretrainError as error:
            failure = error
    shared: list[Any] = [result, failure is not None]
    dist.broadcast_object_list(shared)
    if failure is not None:
        raise failure
    if shared[1]:
        sys.exit(EXIT_CODE)
    return shared[0]


def agreed(*values: int) -> list[int]:
    """Return the largest of each value on any process."""
    shared = torch.tensor(values, device="cuda" if torch.cuda.is_available() else "cpu")
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return shared.tolist()
