"""The tensors of a training's checkpoint, as torch reads them."""

from pathlib import Path

import torch
from torch.distributed.checkpoint import FileSystemReader, load


def loaded(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return them by name, whole."""
    described = FileSystemReader(checkpoint).read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in described.items()
        if hasattr(entry, "chunks")
    }
    load(tensors, storage_reader=FileSystemReader(checkpoint), no_dist=True)
    return tensors
