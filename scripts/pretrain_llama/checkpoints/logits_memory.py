"""Estimate the memory that a comparison of logits takes, and measure what this machine has free."""

import math
from collections.abc import Iterator
from pathlib import Path

from pretrain_llama.checkpoints import mapping
from pretrain_llama.checkpoints.architecture import Architecture

# Of a process with torch, megatron-core and transformers, before it has a model: measured, 0.8 GB, with the libraries
# of CUDA in torch.
PROCESS_BYTES = 850_000_000
FP32_BYTES = 4
LOGITS_BYTES = 8 * 256 * FP32_BYTES  # an id: of 256 tokens, eight times (both models', differences, their squares)


def comparison_bytes(architecture: Architecture, processes: int) -> int:
    """Return the bytes of processes that compare the logits of a model, each with the whole of it in fp32 at worst.

    megatron-core joins gate and up of all layers anew before it puts what it loads into the model.
    """
    parameters = sum(
        math.prod(part.shape) * (2 if part.weight is mapping.GATE_UP else 1) for part in mapping.parts(architecture)
    )
    return processes * (PROCESS_BYTES + FP32_BYTES * parameters + LOGITS_BYTES * architecture.vocab_size)


def available_bytes(root: Path = Path("/")) -> float:
    """Return the bytes that this process and its children may take: what is free, within the limits of its group.

    Args:
        root: of /proc and /sys; where they are not, nothing is known, and infinity returned.
    """
    if not (root / "proc/meminfo").exists():
        return math.inf
    sizes = dict(line.split(":") for line in (root / "proc/meminfo").read_text().splitlines())
    return min([int(sizes["MemAvailable"].split()[0]) * 1024, *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """Yield the limits of this process's control group, of version 1 or 2, and of the groups above it."""
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers in ("", "memory"):
            top = root / "sys/fs/cgroup" / controllers
            own = top / group.lstrip("/")
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            for folder in (own, *(above for above in own.parents if above.is_relative_to(top))):
                text = (folder / name).read_text().strip() if (folder / name).exists() else ""
                if text.isdigit():  # "max": none
                    yield int(text)
