"""Megatron's torch_dist checkpoints of a Llama: written from and read to Hugging Face tensors, without a model.

Layout of a folder of checkpoints, as Megatron-LM has it:

    latest_checkpointed_iteration.txt   "release", or the number of the newest iteration
    release/                            converted weights
    iter_0000150/                       weights and optimizer of a training
"""

from pathlib import Path

import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.mapping import ShardedObject, ShardedTensor
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint import load as load_distributed

from pretrain_llama.checkpoints import mapping
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.huggingface import HuggingFaceReader
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import write_text

TRACKER = "latest_checkpointed_iteration.txt"
CHECKPOINT_VERSION = 3.0  # Megatron-LM takes a checkpoint without it for version 0, with another order of q, k, v
# Linear layers leave a place for a state of their own (fp8 scales); Megatron asks for it on loading.
LINEAR_LAYERS = ("self_attention.linear_qkv", "self_attention.linear_proj", "mlp.linear_fc1", "mlp.linear_fc2")


def iteration_folder(checkpoints: str | Path, iteration: int) -> Path:
    """Return the folder of a training's checkpoint."""
    return Path(checkpoints) / f"iter_{iteration:07d}"


def latest(checkpoints: str | Path) -> Path | None:
    """Return the newest checkpoint of a folder, as its tracker file names it, or None where there is none."""
    tracker = Path(checkpoints) / TRACKER
    if not tracker.exists():
        return None
    name = tracker.read_text(encoding="utf-8").strip()
    return Path(checkpoints) / "release" if name == "release" else iteration_folder(checkpoints, int(name))


def write_tracker(checkpoints: str | Path, name: str | int) -> None:
    """Name the newest checkpoint; written last, it makes a checkpoint count."""
    write_text(Path(checkpoints) / TRACKER, f"{name}\n")


def write_release(
    reader: HuggingFaceReader, architecture: Architecture, padded_vocab_size: int, checkpoints: str | Path
) -> None:
    """Write Hugging Face weights as checkpoints/release. Needs a process group of one process.

    Args:
        reader: of the Hugging Face folder; all its tensors are read.
        architecture: of the model.
        padded_vocab_size: rows of embedding and output layer; the new ones are 0.
        checkpoints: folder of checkpoints.
    """
    sharded: dict[str, ShardedTensor | ShardedObject] = {}

    def add(key: str, tensor: torch.Tensor, *offsets: tuple[int, int, int], stacked: bool) -> None:
        """Each offset is (axis, part, parts); a layer's tensors stand below an axis of the layers."""
        sharded[f"{key}/{offsets}"] = ShardedTensor.from_rank_offsets(
            key, tensor, *offsets, prepend_axis_num=int(stacked), allow_shape_mismatch=key in _VOCABULARY
        )

    for weight in mapping.outer_weights(architecture):
        tensor = reader.tensor(weight.huggingface[0])
        padding = padded_vocab_size - tensor.shape[0] if weight.vocabulary else 0
        add(weight.megatron, torch.nn.functional.pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, padding)), stacked=False)
    for layer in range(architecture.layers):
        here = (0, layer, architecture.layers)
        for weight in mapping.LAYER:
            key = f"decoder.layers.{weight.megatron}"
            parts = [reader.tensor(f"model.layers.{layer}.{name}") for name in weight.huggingface]
            if weight is mapping.GATE_UP:  # two shards, so that every tensor parallel process finds its part of each
                for index, part in enumerate(parts):
                    add(key, part, here, (1, index, len(parts)), stacked=True)
            else:
                add(key, mapping.to_megatron(weight, parts, architecture), here, stacked=True)
        for name in LINEAR_LAYERS:
            key = f"decoder.layers.{name}._extra_state"
            sharded[f"{key}/{layer}"] = ShardedObject(key, None, (architecture.layers,), (layer,))
    release = Path(checkpoints) / "release"
    release.mkdir(parents=True)
    dist_checkpointing.save({"model": sharded, "checkpoint_version": CHECKPOINT_VERSION, "iteration": 0}, release)
    write_tracker(checkpoints, "release")


_VOCABULARY = (mapping.EMBEDDING.megatron, mapping.OUTPUT.megatron)


def read_huggingface_tensors(checkpoint: str | Path, architecture: Architecture) -> dict[str, torch.Tensor]:
    """Return the weights of a torch_dist checkpoint by Hugging Face name, in the checkpoint's dtype.

    Raises:
        OperatorError: the folder holds no whole checkpoint of this architecture.
    """
    loaded = _load_weights(Path(checkpoint), architecture)
    tensors: dict[str, torch.Tensor] = {}
    for weight in mapping.outer_weights(architecture):
        tensors[weight.huggingface[0]] = mapping.to_huggingface(weight, loaded[weight.megatron], architecture)[0]
    for layer in range(architecture.layers):
        for weight in mapping.LAYER:
            stacked = loaded[f"decoder.layers.{weight.megatron}"]  # (layers, ...)
            parts = mapping.to_huggingface(weight, stacked[layer], architecture)
            names = [f"model.layers.{layer}.{name}" for name in weight.huggingface]
            tensors.update(zip(names, parts, strict=True))
    return tensors


def _load_weights(checkpoint: Path, architecture: Architecture) -> dict[str, torch.Tensor]:
    """Return the weights by Megatron's names, layers stacked; nothing of the optimizer is read."""
    try:
        entries = FileSystemReader(checkpoint).read_metadata().state_dict_metadata
    except (FileNotFoundError, EOFError) as error:
        raise OperatorError(
            "no whole torch_dist checkpoint", where=checkpoint, action="delete it and convert or train again"
        ) from error
    shapes = mapping.megatron_shapes(architecture, entries[mapping.EMBEDDING.megatron].size[0])
    wanted = {}
    for weight in mapping.outer_weights(architecture):
        wanted[weight.megatron] = shapes[weight.megatron]
    for weight in mapping.LAYER:
        wanted[f"decoder.layers.{weight.megatron}"] = (architecture.layers, *shapes[weight.megatron])
    for key, shape in wanted.items():
        found = tuple(entries[key].size) if key in entries else None
        if found != shape:
            raise OperatorError(
                f"{key} has shape {found}, {shape} expected",
                where=checkpoint,
                action="give the config.json that the checkpoint was made with",
            )
    tensors = {key: torch.empty(shape, dtype=entries[key].properties.dtype) for key, shape in wanted.items()}
    load_distributed(tensors, storage_reader=FileSystemReader(checkpoint), no_dist=True)
    return tensors
