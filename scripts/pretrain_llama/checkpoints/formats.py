"""Name the format of a folder that holds no readable checkpoint, for the error message."""

from pathlib import Path
from typing import Any

from pretrain_llama import mappings
from pretrain_llama.errors import ConfigError, OperatorError, PretrainError, listed, shown

METADATA, TRACKER = ".metadata", "latest_checkpointed_iteration.txt"
_BACKEND = "metadata.json"  # {"sharded_backend": "torch_dist", …}, of megatron-core
# What others' weights are in, and what makes one of it that is read.
_OTHERS = {
    "pytorch_model*.bin": "of a pytorch_model.bin, transformers' save_pretrained writes them",
    "consolidated*.pth": "of Meta's own files, transformers' convert_llama_weights_to_hf.py writes them",
    "*.gguf": "of a GGUF file, use the model that it was made from: its weights are quantized",
}


def unread(folder: Path) -> PretrainError:
    """Return what to say of a folder without a readable checkpoint."""
    if not folder.is_dir():
        return OperatorError("no such folder", where=folder, action="correct the path, or fetch what it names")
    backend = _backend(folder)
    if backend == "zarr" or any(folder.glob("*/.zarray")):
        return ConfigError(
            "the checkpoint has the format zarr, which is not read",
            where=folder,
            action="let a Megatron-LM of before 0.13 write it anew: --load it with --ckpt-convert-format torch_dist "
            "--ckpt-convert-save FOLDER",
        )
    if backend not in (None, "torch_dist"):
        return ConfigError(
            f"the checkpoint has the format {shown(backend)}, which is not read",
            where=folder / _BACKEND,
            action="save it with --ckpt-format torch_dist",
        )
    if backend or any(folder.glob("*.distcp")):
        return OperatorError(
            f"a torch_dist checkpoint without its {METADATA}, which says where the weights lie",
            where=folder,
            action=f"copy {METADATA} from where the checkpoint is whole: cp FOLDER/* leaves out files whose names "
            "begin with a dot, cp -r FOLDER/. does not",
        )
    if found := sorted(path.name for path in folder.glob("iter_*") if path.is_dir()):
        return OperatorError(
            f"no {TRACKER}, which names the newest of {listed(found)}",
            where=folder,
            action=f"give the folder of one of them, or copy {TRACKER} from where the checkpoints are whole",
        )
    if parts := sorted(path.name for path in folder.glob("*-of-*.safetensors")):
        return OperatorError(
            f"no model.safetensors.index.json, which says what lies in {listed(parts)}",
            where=folder,
            action="fetch it from where they are from",
        )
    others = [what for pattern, what in _OTHERS.items() if any(folder.glob(pattern))]
    return OperatorError(
        f"no weights: no model.safetensors and no index of several, no {TRACKER}, no {METADATA}, no mp_rank_00",
        where=folder,
        action="; ".join(["give the folder of Megatron's checkpoints, or of a model in safetensors", *others]),
    )


def _backend(folder: Path) -> Any:
    """Return the format that megatron-core's metadata.json names; None where there is none."""
    path = folder / _BACKEND
    return mappings.read_object(path).get("sharded_backend") if path.exists() else None


def missing_iteration(tracker: Path, named: Path) -> OperatorError:
    """Return what to say where a tracker names a checkpoint that is not there."""
    there = sorted(path.name for path in tracker.parent.glob("iter_*") if path.is_dir())
    return OperatorError(
        f"it names {named.name}, which is not there; there is {listed(there) or 'no other'}",
        where=tracker,
        action=f"fetch {named.name} as well" + "; or give the folder of one that is there" * bool(there),
    )
