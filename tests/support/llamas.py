"""Tiny Llamas of several kinds, their tensors, and conversions in the process of a test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from checkpoint_tensors import loaded
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.checkpoints.conversion import to_huggingface, to_megatron
from pretrain_llama.checkpoints.opening import open_tensors

WEIGHTS = "model.safetensors"
# None of them as in the real models, of which megatron-core fixes three.
SCALING = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 2.0,
    "high_freq_factor": 8.0,
    "original_max_position_embeddings": 32,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama2": {"num_key_value_heads": 8, "dtype": "bfloat16"},
    "llama31": {"rope_parameters": SCALING | {"rope_theta": 500_000.0}, "shards": "100KB"},
    "llama32": {"tie_word_embeddings": True, "old_rope": SCALING, "dtype": "bfloat16"},
    "mistral": {"head_dim": 24, "sliding_window": None, "dtype": "float16"},
}


def make_llama(folder: Path, kind: str = "", **settings: Any) -> Path:
    """Save a tiny Llama whose weights are far from their initial sizes, so that every one of them matters.

    Args:
        folder: to write.
        kind: one of KINDS; a grouped-query Llama in fp32 if not given.
        settings: of the config; and dtype, shards (their largest size), old_rope (scaling as transformers 4 writes it).
    """
    settings = KINDS.get(kind, {}) | settings
    dtype, shards = settings.pop("dtype", "float32"), settings.pop("shards", "5GB")
    old_rope = settings.pop("old_rope", None)
    if old_rope:
        settings["rope_parameters"] = old_rope | {"rope_theta": 300_000.0}
    sizes = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    lengths = {"max_position_embeddings": 128, "rms_norm_eps": 1e-5}
    torch.manual_seed(1)
    make_config, make_model = (
        (MistralConfig, MistralForCausalLM) if kind == "mistral" else (LlamaConfig, LlamaForCausalLM)
    )
    model = make_model(make_config(**(sizes | heads | lengths | settings)))
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            parameter.data.mul_(3)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shards)
    (folder / "tokenizer.model").write_bytes(b"any")
    if old_rope:
        change_config(folder, rope_parameters=None, rope_theta=300_000.0, rope_scaling=old_rope)
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    """Change keys of config.json; None removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a folder's safetensors files."""
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def change_tensors(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replace, add or (None) remove tensors of a model in one file; names are given with __ for the dots."""
    tensors = tensors_of(folder) | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / WEIGHTS, {"format": "pt"})


def same_tensors(first: Path, second: Path) -> bool:
    """Say whether two folders hold the same tensors, bit for bit, in the same dtypes."""
    one, other = tensors_of(first), tensors_of(second)
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def set_config(**changes: object) -> Callable[[Path], None]:
    """Return what changes keys of a folder's config.json."""
    return lambda folder: change_config(folder, **changes)


def set_tensors(**changes: torch.Tensor | None) -> Callable[[Path], None]:
    """Return what changes tensors of a folder."""
    return lambda folder: change_tensors(folder, **changes)


def convert(source: Path, output: Path, tensor: int = 1, multiple: int = 128, padding_rows: str = "mean") -> Path:
    """Convert in this process; return the output."""
    to_megatron(source, output, tensor, 1, multiple, padding_rows)
    return output


def export(checkpoint: Path, like: Path, output: Path) -> Path:
    """Export in this process; return the output."""
    architecture = read_architecture(like)
    to_huggingface(open_tensors(checkpoint, architecture), architecture, like, output)
    return output


def load_plain(converted: Path) -> dict[str, torch.Tensor]:
    """What torch reads of a checkpoint, with nothing of ours."""
    return loaded(converted / "release")
