"""The names of the same weights in Hugging Face and in Megatron checkpoints: one table for both ways.

Megatron's names are those of its Transformer Engine layers, which megatron-core writes with either kind of layer; the
weights of all layers stand under one name, stacked along a first axis (layers, ...).
"""

from dataclasses import dataclass

import torch

from pretrain_llama.checkpoints.architecture import Architecture


@dataclass(frozen=True)
class Weight:
    """One weight in both worlds.

    Attributes:
        megatron: its name; of a layer, without "decoder.layers.".
        huggingface: the names that are joined into it; of a layer, without "model.layers.{i}.".
        vocabulary: its rows are the vocabulary's, padded in Megatron.
    """

    megatron: str
    huggingface: tuple[str, ...]
    vocabulary: bool = False


EMBEDDING = Weight("embedding.word_embeddings.weight", ("model.embed_tokens.weight",), vocabulary=True)
FINAL_NORM = Weight("decoder.final_layernorm.weight", ("model.norm.weight",))
OUTPUT = Weight("output_layer.weight", ("lm_head.weight",), vocabulary=True)

QKV = Weight(
    "self_attention.linear_qkv.weight",
    ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
)
GATE_UP = Weight("mlp.linear_fc1.weight", ("mlp.gate_proj.weight", "mlp.up_proj.weight"))
LAYER = (
    Weight("self_attention.linear_qkv.layer_norm_weight", ("input_layernorm.weight",)),
    QKV,
    Weight("self_attention.linear_proj.weight", ("self_attn.o_proj.weight",)),
    Weight("mlp.linear_fc1.layer_norm_weight", ("post_attention_layernorm.weight",)),
    GATE_UP,
    Weight("mlp.linear_fc2.weight", ("mlp.down_proj.weight",)),
)


def outer_weights(architecture: Architecture) -> list[Weight]:
    """Return the weights outside the layers; tied embeddings have no output layer of their own."""
    return [EMBEDDING, FINAL_NORM] + ([] if architecture.tied else [OUTPUT])


def megatron_shapes(architecture: Architecture, padded_vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each Megatron weight, of one layer where it is a layer's."""
    a = architecture
    return {
        EMBEDDING.megatron: (padded_vocab_size, a.hidden_size),
        FINAL_NORM.megatron: (a.hidden_size,),
        OUTPUT.megatron: (padded_vocab_size, a.hidden_size),
        "self_attention.linear_qkv.layer_norm_weight": (a.hidden_size,),
        QKV.megatron: ((a.heads + 2 * a.key_value_heads) * a.head_size, a.hidden_size),
        "self_attention.linear_proj.weight": (a.hidden_size, a.heads * a.head_size),
        "mlp.linear_fc1.layer_norm_weight": (a.hidden_size,),
        GATE_UP.megatron: (2 * a.feed_forward_size, a.hidden_size),
        "mlp.linear_fc2.weight": (a.hidden_size, a.feed_forward_size),
    }


def to_megatron(weight: Weight, parts: list[torch.Tensor], architecture: Architecture) -> torch.Tensor:
    """Join the Hugging Face tensors of one weight into Megatron's tensor; nothing is padded."""
    if weight is QKV:
        return join_qkv(*parts, architecture)
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def to_huggingface(weight: Weight, tensor: torch.Tensor, architecture: Architecture) -> list[torch.Tensor]:
    """Split Megatron's tensor of one weight into the Hugging Face tensors; padding rows are dropped."""
    if weight is QKV:
        return list(split_qkv(tensor, architecture))
    if weight.vocabulary:
        return [tensor[: architecture.vocab_size]]
    return list(tensor.chunk(len(weight.huggingface)))


def join_qkv(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, architecture: Architecture) -> torch.Tensor:
    """Interleave query, key and value by group: (q .. q, k, v) for each key-value head.

    Args:
        query: (heads * head_size, hidden).
        key, value: (key_value_heads * head_size, hidden).

    Returns:
        (key_value_heads * (heads / key_value_heads + 2) * head_size, hidden).
    """
    groups, size = architecture.key_value_heads, architecture.head_size
    parts = [part.view(groups, -1, size, part.shape[-1]) for part in (query, key, value)]
    return torch.cat(parts, dim=1).reshape(-1, query.shape[-1])


def split_qkv(joined: torch.Tensor, architecture: Architecture) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Undo `join_qkv`."""
    groups, size = architecture.key_value_heads, architecture.head_size
    by_group = joined.view(groups, -1, size, joined.shape[-1])  # (groups, queries + 2, head_size, hidden)
    query, key, value = by_group.split([by_group.shape[1] - 2, 1, 1], dim=1)
    return tuple(part.reshape(-1, joined.shape[-1]) for part in (query, key, value))
