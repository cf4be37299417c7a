"""The arguments that Megatron-LM keeps in its checkpoints: those of an architecture, and whether kept ones fit it."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.errors import ConfigError

_OLDER_NAMES = {"norm_epsilon": "layernorm_epsilon"}
# Of Llama 3's scaling, Megatron-LM takes the factor, 8 by default, and fixes the rest, which are no arguments there
# (megatron/core/models/common/embeddings/rotary_pos_embedding.py); a checkpoint that we convert keeps them all.
_FIXED_SCALING = {
    "rope_scaling_low_freq_factor": 1.0,
    "rope_scaling_high_freq_factor": 4.0,
    "rope_scaling_original_max_position_embeddings": 8192,
}


def arguments(architecture: Architecture) -> dict[str, Any]:
    """Return Megatron-LM's arguments of an architecture, as those of its checkpoints are called."""
    a = architecture
    scaling = asdict(a.rope_scaling) if a.rope_scaling else {}
    return {f"rope_scaling_{name}": value for name, value in scaling.items()} | {
        "num_layers": a.layers,
        "hidden_size": a.hidden_size,
        "ffn_hidden_size": a.feed_forward_size,
        "num_attention_heads": a.heads,
        "group_query_attention": a.key_value_heads != a.heads,
        "num_query_groups": a.key_value_heads,
        "kv_channels": a.head_size,
        "norm_epsilon": a.norm_epsilon,
        "rotary_base": int(a.rope_base),
        "use_rope_scaling": a.rope_scaling is not None,
        "untie_embeddings_and_output_weights": not a.tied,
        "normalization": "RMSNorm",
        "position_embedding_type": "rope",
        "rotary_percent": 1.0,
        "rotary_interleaved": False,
        "swiglu": True,
        "add_bias_linear": False,
    }


def kept_arguments(architecture: Architecture, tensor: int, pipeline: int) -> Namespace:
    """Return what a converted checkpoint keeps for Megatron-LM, whose loader looks at the parallel sizes.

    With --use-checkpoint-args it takes the architecture from there.
    """
    return Namespace(
        **arguments(architecture),
        max_position_embeddings=architecture.max_positions,
        add_position_embedding=True,
        make_vocab_size_divisible_by=architecture.vocab_multiple,
        padded_vocab_size=architecture.padded_vocab_size(tensor),
        tensor_model_parallel_size=tensor,
        pipeline_model_parallel_size=pipeline,
    )


def unlike_megatron_lm(architecture: Architecture) -> str | None:
    """Say what Megatron-LM computes otherwise than the architecture asks; None where there is nothing."""
    wanted = arguments(architecture)
    differences = [
        f"{name}: {wanted[name]} -> {fixed}"
        for name, fixed in _FIXED_SCALING.items()
        if wanted.get(name, fixed) != fixed
    ]
    return "; ".join(differences) or None


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
    if kept.get("use_rope_scaling"):
        kept = _FIXED_SCALING | {"rope_scaling_factor": 8.0} | kept
    expected = arguments(architecture)
    expected |= {old: expected[name] for name, old in _OLDER_NAMES.items()}
    if kept.get("group_query_attention"):  # of one head a group, too
        del expected["group_query_attention"]
    else:  # num_query_groups says nothing then
        del expected["num_query_groups"]
    if kept.get("use_rotary_position_embeddings"):  # an older name, which leaves position_embedding_type as it was
        del expected["position_embedding_type"]
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
