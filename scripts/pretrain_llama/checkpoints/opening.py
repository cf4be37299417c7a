"""Open the weights of a Llama, whatever format the folder holds."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints import formats, huggingface, megatron_torch, torch_dist, torch_files
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.argument_check import check_args
from pretrain_llama.checkpoints.huggingface import HuggingFaceTensors
from pretrain_llama.checkpoints.megatron_torch import MegatronTorchTensors
from pretrain_llama.checkpoints.torch_dist import TorchDistTensors
from pretrain_llama.checkpoints.torch_dist_metadata import Metadata, read_metadata
from pretrain_llama.errors import OperatorError

AnyTensors = HuggingFaceTensors | TorchDistTensors | MegatronTorchTensors


def open_tensors(folder: str | Path, architecture: Architecture, accepted: Collection[str] = frozenset()) -> AnyTensors:
    """Return the tensors of a folder: safetensors, a Megatron checkpoint, or the newest of a folder of these.

    Args:
        folder: to look in.
        architecture: of the model, by config.json.
        accepted: names of arguments of Megatron-LM that a person takes the responsibility for; see `check_args`.

    Raises:
        OperatorError: it holds none of these, or a Megatron checkpoint that is not whole.
        ConfigError, DataError: the weights are not those of the architecture, or damaged; or of a format that is not
            read; or Megatron-LM's arguments with them are not those of a plain Llama.
    """
    folder = Path(folder)
    if any((folder / name).exists() for name in (huggingface.WHOLE, huggingface.INDEX)):
        return HuggingFaceTensors(folder, architecture)
    named = torch_dist.latest(folder)
    if named and not named.exists():
        raise formats.missing_iteration(folder / torch_dist.TRACKER, named)
    newest = named or folder
    if megatron_torch.is_checkpoint(newest):
        return MegatronTorchTensors(newest, architecture, accepted)
    metadata = read_metadata(newest)
    arguments = _common(newest, metadata).get("args")  # first: what differs there explains why a shape does
    found = check_args(arguments, architecture, newest, accepted)
    tensors = TorchDistTensors(newest, architecture, metadata)
    tensors.accepted, tensors.has_arguments = found, arguments is not None
    return tensors


def _common(checkpoint: Path, metadata: Metadata) -> dict[str, Any]:
    """Return what Megatron-LM kept with a torch_dist checkpoint besides tensors."""
    path = checkpoint / "common.pt"
    found = torch_files.load(path) if path.exists() else metadata.common_state()
    if not isinstance(found, dict | None):
        raise OperatorError(
            f"what Megatron-LM kept with the weights is of type {type(found).__name__}, no dict",
            where=path if path.exists() else checkpoint,
            action="fetch the checkpoint again, or use that of another iteration",
        )
    return found or {}
