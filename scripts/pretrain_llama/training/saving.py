"""Write checkpoints, at once or in the background, each under another name until it is whole.

Beside the checkpoint's own files, each process leaves two in that folder, and removes them before it gets its name:

hashes_{rank}.json      sizes and hashes of the files that it wrote; its writer may be a child of its own
results_{rank}.pickle   what megatron-core's writer says to its training, see _Results
"""

import os
import pickle
import queue
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncCallsQueue
from megatron.core.dist_checkpointing.strategies.fully_parallel import FullyParallelSaveStrategyWrapper
from megatron.core.dist_checkpointing.strategies.torch import TorchDistSaveShardedStrategy
from torch.distributed.checkpoint.api import CheckpointException

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import read_json, write_json
from pretrain_llama.launch.parent import end_with_parent
from pretrain_llama.run import checkpoint_files


class CheckpointWriter:
    """Writes the checkpoints of a training; every process calls it alike."""

    def __init__(self, checkpoints: Path, in_background: bool) -> None:
        """Write to a folder; in_background: return as soon as the state is copied."""
        self._checkpoints = checkpoints
        self._queue = AsyncCallsQueue() if in_background else None
        # megatron-core writes in forked children. One whose training is killed can wait for it for ever, with its lock.
        os.register_at_fork(after_in_child=partial(end_with_parent, signal.SIGKILL))
        # Each data parallel process writes its share of what all of them hold.
        self._strategy = FullyParallelSaveStrategyWrapper(
            TorchDistSaveShardedStrategy("torch_dist", 1), parallel_state.get_data_parallel_group()
        )

    def write(
        self, state: dict[str, Any], facts: dict[str, Any], then: Callable[[Path, float], None], **options: Any
    ) -> None:
        """Write a checkpoint.

        Args:
            state: megatron-core's sharded state.
            facts: for the manifest; "iteration" names the checkpoint.
            then: called on the first process with the folder, once it is whole and named as the newest, and the seconds
                that this took.
            options: further ones of megatron-core's `save`.

        Raises:
            OperatorError: it could not be written, for want of space, say.
        """
        self.finish(wait=True)
        began = time.perf_counter()
        folder = torch_dist.iteration_folder(self._checkpoints, facts["iteration"])
        beside = self._beside(folder)
        filesystem_async._results_queue = _Results(beside / f"results_{dist.get_rank()}.pickle")
        try:
            # megatron-core's own writer, not nvidia-resiliency-ext's: that has wheels for glibc 2.39 and later alone.
            request = dist_checkpointing.save(
                state, str(beside), self._strategy, async_sharded_save=True, async_strategy="mcore", **options
            )
            if request.async_fn is not None:
                write = partial(_write_and_hash, request.async_fn, beside)
                request = request._replace(async_fn=write)
            request.add_finalize_fn(partial(_publish, beside, folder, facts, partial(then, folder), began))
            if self._queue is None:
                request.execute_sync()
            else:
                self._queue.schedule_async_request(request)
        except (Exception, CheckpointException) as error:  # which is a BaseException
            raise self._failure(error, folder) from error

    def finish(self, wait: bool) -> None:
        """Publish what was written in the background meanwhile; wait: until it is.

        Raises:
            OperatorError: as `write`.
        """
        if self._queue is None:
            return
        try:
            self._queue.maybe_finalize_async_calls(blocking=wait)
        except (Exception, CheckpointException) as error:  # which is a BaseException
            raise self._failure(error, self._checkpoints) from error

    def _beside(self, folder: Path) -> Path:
        """Make an empty folder to write to, with a name of this start's, and return it on all processes."""
        name = [f".{folder.name}.{socket.gethostname()}.{os.getpid()}.part"]
        dist.broadcast_object_list(name)
        beside = folder.with_name(name[0])
        beside.mkdir(parents=True, exist_ok=True)
        dist.barrier()
        return beside

    def _failure(self, error: BaseException, where: Path) -> OperatorError:
        return OperatorError(
            f"a checkpoint could not be written: {str(error).strip().splitlines()[-1]}",
            where=where,
            action="see whether the disk is full or gone; the same command resumes from the newest checkpoint",
        )


def _write_and_hash(write: Callable[..., None], beside: Path, *args: Any, **kwargs: Any) -> None:
    """Write this process's files, and hash them."""
    rank = dist.get_rank()
    write(*args, **kwargs)
    write_json(_hashes(beside), checkpoint_files.hash_files(beside.glob(f"__{rank}_*.distcp")))


def _hashes(beside: Path) -> Path:
    return beside / f"hashes_{dist.get_rank()}.json"


def _publish(beside: Path, folder: Path, facts: dict[str, Any], then: Callable[[float], None], began: float) -> None:
    """Give a checkpoint its manifest and its name, once all processes have written their parts.

    Each tells the first what it wrote: a folder of NFS lists the files of another node up to a minute late.
    """
    own = read_json(_hashes(beside)) if _hashes(beside).exists() else {}
    _hashes(beside).unlink(missing_ok=True)
    told: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(own, told)
    if told is not None:
        files = {name: described for part in told for name, described in part.items()}
        written_here = [beside / ".metadata", *beside.glob("metadata.json")]
        files |= checkpoint_files.hash_files(written_here)
        checkpoint_files.publish(beside, folder, facts | {"files": files})
        then(time.perf_counter() - began)
    dist.barrier()


class _Results:
    """The results of a forked writer, in a file for its training; replaces megatron-core's queue.

    That one (filesystem_async.py:65) is served by a process which imports torch, and outlives a killed training.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, results: object) -> None:
        self._path.write_bytes(pickle.dumps(results))

    def get_nowait(self) -> object:
        if not self._path.exists():
            raise queue.Empty
        results = pickle.loads(self._path.read_bytes())
        self._path.unlink()
        return results
