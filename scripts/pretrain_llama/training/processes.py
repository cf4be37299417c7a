"""Process groups: torch.distributed and megatron-core's parallel groups, on CPU (gloo) or GPU (nccl)."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from megatron.core import parallel_state, tensor_parallel

from pretrain_llama.errors import ConfigError
from pretrain_llama.launch import ranks
from pretrain_llama.training import cpu


@contextmanager
def process_groups(tensor: int, pipeline: int, place: str) -> Iterator[torch.device]:
    """Join the other processes of the training for the length of a block; yields this process's device.

    Args:
        tensor: tensor parallel size.
        pipeline: pipeline parallel size.
        place: where the sizes are configured, for the message.

    Raises:
        ConfigError: the number of processes is no multiple of tensor x pipeline.
    """
    cpu.install()
    own = ranks.from_environment()
    if own.world_size % (tensor * pipeline):
        raise ConfigError(
            f"{own.world_size} processes cannot be cut into groups of tensor {tensor} x pipeline {pipeline}",
            where=place,
            action=f"start a multiple of {tensor * pipeline} processes, or change the parallel sizes",
        )
    device = torch.device("cuda", own.local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // own.local_world_size))
    with tempfile.TemporaryDirectory() as folder:
        # A single process meets nobody: a file needs no free port.
        alone = {"init_method": f"file://{folder}/store", "rank": 0, "world_size": 1} if own.world_size == 1 else {}
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", **alone)
        try:
            parallel_state.initialize_model_parallel(tensor, pipeline)
            yield device
        finally:
            parallel_state.destroy_model_parallel()
            dist.destroy_process_group()


def seed_everything(seed: int) -> None:
    """Seed torch and megatron-core's tensor parallel random states."""
    torch.manual_seed(seed)
    tensor_parallel.model_parallel_cuda_manual_seed(seed)
