"""The Llama architecture, as a Hugging Face config.json describes it."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama.errors import ConfigError

PASSPORT = "conversion.json"  # beside the config.json of a converted checkpoint; see passport.py
VOCAB_MULTIPLE = 128  # Megatron-LM's make_vocab_size_divisible_by


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

    def check_parallel(self, tensor: int, pipeline: int, place: str) -> None:
        """Check that the model can be cut into tensor x pipeline parts.

        Raises:
            ConfigError: a size is not divisible, or a parallel size or the multiple of the vocabulary is below 1.
        """
        sizes = {"tensor parallel size": tensor, "pipeline parallel size": pipeline}
        for what, size in (sizes | {"multiple of the vocabulary": self.vocab_multiple}).items():
            if size < 1:
                raise ConfigError(f"{what} {size} is below 1", where=place, action="give 1 or more")
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


# Keys that change the computation, with the values that are implemented.
_KNOWN_VALUES = {
    "model_type": ("llama", "mistral"),
    "hidden_act": ("silu", None),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "sliding_window": (None,),
    "partial_rotary_factor": (1.0, None),
    "quantization_config": (None,),
    "auto_map": (None,),
}
_ABSENT = {"mistral": {"sliding_window": 4096, "num_key_value_heads": 8}}  # what transformers' MistralConfig fills in
_CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}
_COUNTS = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "vocab_size",
    "max_position_embeddings",
)
_OPTIONAL_COUNTS = ("num_key_value_heads", "head_dim")
_ROPE_NUMBERS = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def read_architecture(folder: str | Path) -> Architecture:
    """Return the architecture that a Hugging Face folder's config.json describes.

    Reads transformers 4's rope_theta and rope_scaling, and transformers 5's rope_parameters. Of a converted checkpoint,
    its conversion.json says what the vocabulary was padded to a multiple of.

    Raises:
        ConfigError: no config.json there, or a model that is no Llama of the known kind; names the key.
    """
    path = Path(folder) / "config.json"
    config = _read_json(path)
    config = _ABSENT.get(config.get("model_type", ""), {}) | config
    _check_known(config, path)
    heads, key_value_heads = config["num_attention_heads"], config.get("num_key_value_heads")
    if heads % (key_value_heads or heads):
        raise ConfigError(
            f"num_attention_heads {heads} is no multiple of num_key_value_heads {key_value_heads}",
            where=path,
            action="correct the config.json",
        )
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}  # in the order of transformers 5
    passport = Path(folder) / PASSPORT
    padding = _read_json(passport).get("padding", {}) if passport.exists() else {}
    return Architecture(
        layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        feed_forward_size=config["intermediate_size"],
        heads=heads,
        key_value_heads=key_value_heads or heads,
        head_size=config.get("head_dim") or config["hidden_size"] // heads,
        vocab_size=config["vocab_size"],
        max_positions=config["max_position_embeddings"],
        norm_epsilon=config["rms_norm_eps"],
        rope_base=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        rope_scaling=_rope_scaling(rope, path),
        tied=bool(config.get("tie_word_embeddings", False)),
        vocab_multiple=padding.get("multiple", VOCAB_MULTIPLE),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            "no Hugging Face checkpoint", where=path, action="give the folder that holds config.json and safetensors"
        ) from None
    except ValueError as error:
        raise ConfigError(f"no JSON: {error}", where=path, action="fetch the file again") from error


def _check_known(config: dict[str, Any], path: Path) -> None:
    """Raise ConfigError unless a config.json describes a Llama that is computed here as transformers computes it."""
    kinds = dict.fromkeys(_COUNTS, int) | {"rms_norm_eps": int | float}
    kinds |= {key: int for key in _OPTIONAL_COUNTS if config.get(key) is not None}
    for key, kind in kinds.items():
        value = config.get(key)
        if not isinstance(value, kind) or isinstance(value, bool) or value <= 0:
            raise ConfigError(
                f"{key} {value!r} is no {'whole ' if kind is int else ''}number above 0",
                where=path,
                action="use a config.json that transformers wrote",
            )
    for key, known in _KNOWN_VALUES.items():
        if (value := config.get(key)) not in known:
            raise ConfigError(
                f"{key} {value!r} is not known", where=path, action=f"use a Llama with {key} {json.dumps(known[0])}"
            )
    of_other_kind = {*(config.get("layer_types") or ())} - {"full_attention"}
    if of_other_kind:
        raise ConfigError(
            f"layer_types {', '.join(sorted(of_other_kind))} are not known",
            where=path,
            action="use a Llama whose layers all have full_attention",
        )
    known_class = _CLASSES[config["model_type"]]
    classes = config.get("architectures") or [known_class]
    if known_class not in classes:
        raise ConfigError(
            f"architectures {', '.join(classes)} are not known", where=path, action=f"use a {known_class}"
        )


def _rope_scaling(rope: dict[str, Any], path: Path) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if any(isinstance(value, dict) for value in rope.values()):
        kind = "one for each kind of layer"
    if rope.get("partial_rotary_factor") not in (None, 1.0):
        kind = f"{kind} with partial_rotary_factor {rope['partial_rotary_factor']}"
    if kind == "default":
        return None
    if kind != "llama3":
        raise ConfigError(f"rope_type {kind!r} is not known", where=path, action="use default or llama3")
    missing = [key for key in _ROPE_NUMBERS if not isinstance(rope.get(key), int | float)]
    if missing:
        raise ConfigError(
            f"rope_type llama3 without a number for {', '.join(missing)}",
            where=path,
            action="add it, as the model's authors trained it",
        )
    return RopeScaling(**{number: rope[number] for number in _ROPE_NUMBERS})
