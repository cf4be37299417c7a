"""The arguments that Megatron-LM keeps in its checkpoints, against the config.json that goes with the weights."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.errors import ConfigError


def check_args(args: Namespace | None, architecture: Architecture, place: Path) -> None:
    """Check that the arguments of a training describe an architecture; those that a version lacks are passed over.

    Args:
        args: of the checkpoint; None where it holds none.
        architecture: by config.json.
        place: of the checkpoint.

    Raises:
        ConfigError: they differ; shows how.
    """
    kept = vars(args) if isinstance(args, Namespace) else {}
    expected = _expected(architecture, kept)
    differences = [
        f"    {name}: {kept[name]} in the checkpoint, {value} by config.json"
        for name, value in expected.items()
        if kept.get(name) is not None and kept[name] != value
    ]
    if differences:
        raise ConfigError(
            "the checkpoint is of another model:\n" + "\n".join(differences),
            where=place,
            action="give the config.json that belongs to the checkpoint",
        )


def _expected(a: Architecture, kept: dict[str, Any]) -> dict[str, Any]:
    expected = {
        "num_layers": a.layers,
        "hidden_size": a.hidden_size,
        "ffn_hidden_size": a.feed_forward_size,
        "num_attention_heads": a.heads,
        "kv_channels": a.head_size,
        "norm_epsilon": a.norm_epsilon,
        "layernorm_epsilon": a.norm_epsilon,
        "rotary_base": a.rope_base,
        "use_rope_scaling": a.rope_scaling is not None,
        "untie_embeddings_and_output_weights": not a.tied,
        "normalization": "RMSNorm",
        "position_embedding_type": "rope",
        "rotary_percent": 1.0,
        "rotary_interleaved": False,
        "swiglu": True,
        "add_bias_linear": False,
    }
    if kept.get("group_query_attention"):
        expected["num_query_groups"] = a.key_value_heads
    else:  # num_query_groups says nothing then
        expected["group_query_attention"] = a.key_value_heads != a.heads
    if kept.get("use_rotary_position_embeddings"):  # an older name, which leaves position_embedding_type as it was
        del expected["position_embedding_type"]
    if a.rope_scaling is not None:
        expected["rope_scaling_factor"] = a.rope_scaling.factor
    return expected
