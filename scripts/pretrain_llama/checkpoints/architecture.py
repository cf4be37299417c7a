"""The Llama architecture, as a Hugging Face config.json describes it."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama.errors import ConfigError

VOCAB_DIVISOR = 128  # Megatron-LM's make_vocab_size_divisible_by


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3's scaling of the rotary frequencies (transformers: rope_type "llama3")."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class Architecture:
    """What both Hugging Face and Megatron need to know of a Llama.

    Attributes:
        heads: query heads; key_value_heads: groups of grouped-query attention; head_size: of each, in channels.
        vocab_size: rows of the embedding as delivered, before padding.
        tied: the output layer shares the embedding.
    """

    layers: int
    hidden_size: int
    feed_forward_size: int
    heads: int
    key_value_heads: int
    head_size: int
    vocab_size: int
    max_positions: int
    norm_epsilon: float
    rope_base: float
    rope_scaling: RopeScaling | None
    tied: bool

    def padded_vocab_size(self, tensor_parallel: int) -> int:
        """Return the rows of embedding and output layer in Megatron: a multiple of 128 x tensor parallel size."""
        multiple = VOCAB_DIVISOR * tensor_parallel
        return math.ceil(self.vocab_size / multiple) * multiple

    def check_parallel(self, tensor: int, pipeline: int, place: str) -> None:
        """Check that the model can be cut into tensor x pipeline parts.

        Raises:
            ConfigError: a size is not divisible.
        """
        divisors = {
            "attention heads": (self.heads, tensor),
            "key-value heads": (self.key_value_heads, tensor),
            "feed-forward channels": (self.feed_forward_size, tensor),
            "layers": (self.layers, pipeline),
        }
        for what, (size, parts) in divisors.items():
            if size % parts:
                raise ConfigError(
                    f"{size} {what} cannot be cut into {parts} equal parts",
                    where=place,
                    action=f"choose a parallel size that divides {size}",
                )


# Keys that change the computation, with the only values that are implemented.
_REQUIRED = {
    "model_type": ("llama",),
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "quantization_config": (None,),
}


def read_architecture(folder: str | Path) -> Architecture:
    """Return the architecture that a Hugging Face folder's config.json describes.

    Reads transformers 4's rope_theta and rope_scaling, and transformers 5's rope_parameters.

    Raises:
        ConfigError: no config.json there, or a model that is no Llama of the known kind; names the key.
    """
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            "no Hugging Face checkpoint", where=path, action="give the folder that holds config.json and safetensors"
        ) from None
    for key, known in _REQUIRED.items():
        if config.get(key, known[0]) not in known:
            raise ConfigError(
                f"{key} {config[key]!r} is not known", where=path, action=f"use a Llama with {key} {known[0]!r}"
            )
    rope = config.get("rope_parameters") or (config.get("rope_scaling") or {})
    return Architecture(
        layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        feed_forward_size=config["intermediate_size"],
        heads=config["num_attention_heads"],
        key_value_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
        head_size=config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
        vocab_size=config["vocab_size"],
        max_positions=config["max_position_embeddings"],
        norm_epsilon=config["rms_norm_eps"],
        rope_base=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        rope_scaling=_rope_scaling(rope, path),
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def _rope_scaling(rope: dict[str, Any], path: Path) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind != "llama3":
        raise ConfigError(f"rope_type {kind!r} is not known", where=path, action="use default or llama3")
    return RopeScaling(
        factor=rope["factor"],
        low_freq_factor=rope["low_freq_factor"],
        high_freq_factor=rope["high_freq_factor"],
        original_max_position_embeddings=rope["original_max_position_embeddings"],
    )
