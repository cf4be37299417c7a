"""Read a Hugging Face config.json: check its keys, and that it describes a Llama that is computed here."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pretrain_llama import mappings
from pretrain_llama.errors import ConfigError, shown

CONFIG = "config.json"
MOST_LAYERS, MOST = 10_000, 1 << 31  # beyond all models; what is made for each layer stays small

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
    "is_causal": (True, None),
    "attention_chunk_size": (None,),
}
_ABSENT = {"mistral": {"sliding_window": 4096, "num_key_value_heads": 8}}  # what transformers' MistralConfig fills in
_CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}


def _is_count(value: object, most: int = MOST) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < most


def _is_layers(value: object) -> bool:
    return _is_count(value, MOST_LAYERS)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_flag(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _is_names(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value))


def _is_rope(value: object) -> bool:
    """Say whether it is nothing, or an object of texts and numbers, or of such objects by kind of layer."""
    if not isinstance(value, dict):
        return value is None
    parts = [part for inner in value.values() for part in (inner.values() if isinstance(inner, dict) else [inner])]
    return all(
        part is None or isinstance(part, str | bool) or (isinstance(part, int | float) and math.isfinite(part))
        for part in parts
    )


_WHOLE, _NUMBER = "is no whole number above 0", "is no number above 0"
# What each key has to hold, and what is said where it does not.
_REQUIRED: dict[str, tuple[Callable[[object], bool], str]] = {
    "num_hidden_layers": (_is_layers, f"{_WHOLE} and below {MOST_LAYERS:,}"),
    **dict.fromkeys(
        ("hidden_size", "intermediate_size", "num_attention_heads", "vocab_size", "max_position_embeddings"),
        (_is_count, _WHOLE),
    ),
    "rms_norm_eps": (_is_positive, _NUMBER),
}
_OPTIONAL: dict[str, tuple[Callable[[object], bool], str]] = {
    "num_key_value_heads": (_is_count, _WHOLE),
    "head_dim": (_is_count, _WHOLE),
    "rope_theta": (_is_positive, _NUMBER),
    "tie_word_embeddings": (_is_flag, "is neither true nor false"),
    "layer_types": (_is_names, "is no list of texts"),
    "architectures": (_is_names, "is no list of texts"),
    "rope_scaling": (_is_rope, "is no object of texts and finite numbers"),
    "rope_parameters": (_is_rope, "is no object of texts and finite numbers"),
}


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return a Llama's config.json, with what transformers fills in.

    Raises:
        ConfigError: there is none, it is no object in JSON, a key holds what it cannot, or the model is no Llama of the
            known kind; names the key and its value.
    """
    path = Path(folder) / CONFIG
    if not path.exists():
        raise ConfigError(
            "no Hugging Face checkpoint", where=path, action="give the folder that holds config.json and safetensors"
        )
    read = mappings.read_object(path)
    kind = read.get("model_type")
    config = _ABSENT.get(kind if isinstance(kind, str) else "", {}) | read
    forms = _REQUIRED | {key: form for key, form in _OPTIONAL.items() if config.get(key) is not None}
    for key, (is_right, problem) in forms.items():
        if not is_right(config.get(key)):
            raise ConfigError(
                f"{key} {shown(config.get(key))} {problem}",
                where=path,
                action="use a config.json that transformers wrote",
            )
    _check_known(config, path)
    return config


def _check_known(config: dict[str, Any], path: Path) -> None:
    """Raise ConfigError unless this project computes the Llama of a config.json as transformers does."""
    for key, known in _KNOWN_VALUES.items():
        if (value := config.get(key)) not in known:
            raise ConfigError(
                f"{key} {shown(value)} is not known",
                where=path,
                action=f"use a Llama with {key} {json.dumps(known[0])}",
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
    heads, key_value_heads = config["num_attention_heads"], config.get("num_key_value_heads")
    if heads % (key_value_heads or heads):
        raise ConfigError(
            f"num_attention_heads {heads} is no multiple of num_key_value_heads {key_value_heads}",
            where=path,
            action="correct the config.json",
        )
