"""The Llama architecture, as a Hugging Face config.json describes it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama import mappings
from pretrain_llama.checkpoints.config_file import CONFIG, read_config
from pretrain_llama.errors import ConfigError, shown

PASSPORT = "conversion.json"  # beside the config.json of a converted checkpoint; see passport.py
VOCAB_MULTIPLE = 128  # Megatron-LM's make_vocab_size_divisible_by
_ROPE_NUMBERS = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3's scaling of the rotary frequencies (transformers: rope_type "llama3")."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class Architecture:
    """The parts of a Llama's configuration that Hugging Face and Megatron both need.

    Attributes:
        heads: query heads; key_value_heads: groups of grouped-query attention; head_size: of each, in channels.
        vocab_size: rows of the embedding as delivered, before padding.
        tied: the output layer shares the embedding.
        vocab_multiple: in Megatron, the rows that a tensor parallel process holds are a multiple of it.
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
    vocab_multiple: int = VOCAB_MULTIPLE

    def padded_vocab_size(self, tensor_parallel: int) -> int:
        """Return the rows of embedding and output layer in Megatron: a multiple of vocab_multiple x tensor_parallel."""
        multiple = self.vocab_multiple * tensor_parallel
        return math.ceil(self.vocab_size / multiple) * multiple

    def check_parallel(self, tensor: int, pipeline: int, where: str) -> None:
        """Check that the model can be cut into tensor x pipeline parts.

        Raises:
            ConfigError: a size is not divisible, or a parallel size or the multiple of the vocabulary is below 1.
        """
        sizes = {"tensor parallel size": tensor, "pipeline parallel size": pipeline}
        for what, size in (sizes | {"multiple of the vocabulary": self.vocab_multiple}).items():
            if size < 1:
                raise ConfigError(f"{what} {size} is below 1", where=where, action="give 1 or more")
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
                    where=where,
                    action=f"choose a parallel size that divides {size}",
                )


def read_architecture(folder: str | Path) -> Architecture:
    """Return the architecture that a Hugging Face folder's config.json describes.

    Reads transformers 4's rope_theta and rope_scaling, and transformers 5's rope_parameters. Of a converted checkpoint,
    its conversion.json says what the vocabulary was padded to a multiple of.

    Raises:
        ConfigError: no config.json there, or a model that is no Llama of the known kind; names the key.
    """
    path = Path(folder) / CONFIG
    config = read_config(folder)
    heads = config["num_attention_heads"]
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}  # in the order of transformers 5
    scaling = _rope_scaling(rope, config.get("original_max_position_embeddings"), path)
    base = rope.get("rope_theta") or config.get("rope_theta") or 10000.0
    return Architecture(
        layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        feed_forward_size=config["intermediate_size"],
        heads=heads,
        key_value_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or config["hidden_size"] // heads,
        vocab_size=config["vocab_size"],
        max_positions=config["max_position_embeddings"],
        norm_epsilon=config["rms_norm_eps"],
        rope_base=float(_positive("rope_theta", base, path)),
        rope_scaling=scaling,
        tied=bool(config.get("tie_word_embeddings", False)),
        vocab_multiple=_vocab_multiple(Path(folder) / PASSPORT),
    )


def _vocab_multiple(passport: Path) -> int:
    """Return what a vocabulary was padded to a multiple of, by a passport; Megatron-LM's where there is none."""
    padding = mappings.read_object(passport).get("padding") if passport.exists() else None
    multiple = padding.get("multiple") if isinstance(padding, dict) else VOCAB_MULTIPLE
    if not isinstance(multiple, int) or isinstance(multiple, bool) or multiple < 1:
        raise ConfigError(
            f"padding.multiple {shown(multiple)} is no whole number above 0",
            where=passport,
            action="put back what convert_checkpoint wrote, or take a conversion.json of another's away",
        )
    return multiple


def _rope_scaling(rope: dict[str, Any], outer: Any, path: Path) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if any(isinstance(value, dict) for value in rope.values()):
        kind = "one for each kind of layer"
    if rope.get("partial_rotary_factor") not in (None, 1.0):
        kind = f"{kind} with partial_rotary_factor {rope['partial_rotary_factor']}"
    if kind == "default":
        return None
    if kind != "llama3":
        raise ConfigError(f"rope_type {shown(kind)} is not known", where=path, action="use default or llama3")
    missing = [key for key in _ROPE_NUMBERS if isinstance(rope.get(key), str | bool | None)]
    if missing:
        raise ConfigError(
            f"rope_type llama3 without a number for {', '.join(missing)}",
            where=path,
            action="add it, as the model's authors trained it",
        )
    inner = rope["original_max_position_embeddings"]
    if outer not in (None, inner):
        raise ConfigError(
            f"original_max_position_embeddings is {shown(inner)} in the rotary scaling and {shown(outer)} outside it, "
            "which transformers 5 takes, and 4 does not",
            where=path,
            action="give both the number that the model's authors trained it with",
        )
    return RopeScaling(**{key: _positive(key, rope[key], path) for key in _ROPE_NUMBERS})


def _positive(key: str, value: Any, path: Path) -> Any:
    if isinstance(value, str | bool) or value <= 0:
        raise ConfigError(
            f"{key} {shown(value)} is no number above 0",
            where=path,
            action="correct it, as the model's authors trained it",
        )
    return value
