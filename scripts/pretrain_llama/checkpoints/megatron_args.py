"""Megatron-LM's arguments for a Llama: those that a checkpoint keeps, and what Megatron-LM would compute otherwise."""

from argparse import Namespace
from dataclasses import asdict
from typing import Any

from pretrain_llama.checkpoints.architecture import Architecture

# Llama 3's scaling as Megatron-LM computes it. Its GPT program passes use_rope_scaling on, but no number. So the factor
# is the default of megatron-core's GPTModel, in all versions from 0.10 on, whatever --rope-scaling-factor says; the
# three others are fixed in megatron/core/models/common/embeddings/rotary_pos_embedding.py. GPTModel itself takes a
# factor, and the trainer here computes with all four numbers.
FIXED_SCALING = {
    "rope_scaling_factor": 8.0,
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
    """Return what Megatron-LM computes differently from what the architecture asks; None if nothing."""
    wanted = arguments(architecture) | {"rotary_base": architecture.rope_base}
    fixed = FIXED_SCALING | {"rotary_base": int(architecture.rope_base)}  # a whole number there
    differences = [
        f"{name}: {wanted[name]} -> {value}" for name, value in fixed.items() if wanted.get(name, value) != value
    ]
    return "; ".join(differences) or None
