"""Read and write the weights of a Hugging Face folder: safetensors, whole or in shards with an index."""

import json
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pretrain_llama.errors import ConfigError

# What belongs to a model but holds no weights, and is carried along by a conversion.
CARRIED_FILES = ("config.json", "generation_config.json", "tokenizer.model", "tokenizer.json", "tokenizer_config.json")


class HuggingFaceReader:
    """Tensors by name from a folder's safetensors files, each read when it is asked for."""

    def __init__(self, folder: str | Path) -> None:
        """Open the files.

        Raises:
            ConfigError: the folder holds no safetensors.
        """
        self._folder = Path(folder)
        paths = sorted(self._folder.glob("*.safetensors"))
        if not paths:
            raise ConfigError(
                "no *.safetensors", where=folder, action="save the model with save_pretrained(safe_serialization=True)"
            )
        self._file_of = {}
        for path in paths:
            file = safe_open(path, "pt")
            self._file_of.update(dict.fromkeys(file.keys(), file))
        self._unread = set(self._file_of)

    def tensor(self, name: str) -> torch.Tensor:
        """Return a tensor.

        Raises:
            ConfigError: it is not there.
        """
        if name not in self._file_of:
            raise ConfigError(
                f"tensor {name!r} is missing", where=self._folder, action="use a complete Llama checkpoint"
            )
        self._unread.discard(name)
        return self._file_of[name].get_tensor(name)

    def check_all_read(self) -> None:
        """Check that nothing is left behind.

        Raises:
            ConfigError: a tensor was never asked for, so the model is not the known kind of Llama.
        """
        # Old checkpoints carry the rotary frequencies, which follow from the config.
        unknown = sorted(name for name in self._unread if not name.endswith("rotary_emb.inv_freq"))
        if unknown:
            raise ConfigError(
                f"{len(unknown)} tensors are not a Llama's: {', '.join(unknown[:5])}",
                where=self._folder,
                action="use a Llama without biases or adapters",
            )


def write_folder(folder: str | Path, tensors: dict[str, torch.Tensor], like: str | Path) -> None:
    """Write a Hugging Face folder: the tensors, and the config and tokenizer of the folder it goes back to.

    Args:
        folder: to write; it appears when it is complete.
        tensors: by Hugging Face name.
        like: folder of the model that the training began from.
    """
    folder = Path(folder)
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name in CARRIED_FILES:
        if (Path(like) / name).exists():
            shutil.copyfile(Path(like) / name, beside / name)
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    config = json.loads((beside / "config.json").read_text(encoding="utf-8"))
    config["dtype" if "dtype" in config else "torch_dtype"] = dtype
    (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, beside / "model.safetensors", {"format": "pt"}
    )
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
