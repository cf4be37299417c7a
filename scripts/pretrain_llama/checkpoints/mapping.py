"""The table of weight names, Hugging Face against Megatron, for both directions.

Megatron's names are those of its Transformer Engine layers, which megatron-core writes with either kind of layer.
Megatron joins some weights; it never transposes one, so the table says which rows go where.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.tensors import Region, cut_all


@dataclass(frozen=True)
class Weight:
    """One weight in both worlds.

    Attributes:
        megatron: its name; of a layer, without "decoder.layers.{i}.".
        huggingface: the names that are joined into it; of a layer, without "model.layers.{i}.".
        shared: the axis along which tensor parallel processes share it; None where each has it whole.
        vocabulary: its rows are the vocabulary's, padded in Megatron.
    """

    megatron: str
    huggingface: tuple[str, ...]
    shared: int | None = None
    vocabulary: bool = False


EMBEDDING = Weight("embedding.word_embeddings.weight", ("model.embed_tokens.weight",), 0, vocabulary=True)
FINAL_NORM = Weight("decoder.final_layernorm.weight", ("model.norm.weight",))
OUTPUT = Weight("output_layer.weight", ("lm_head.weight",), 0, vocabulary=True)

ATTENTION_NORM = Weight("self_attention.linear_qkv.layer_norm_weight", ("input_layernorm.weight",))
QKV = Weight(
    "self_attention.linear_qkv.weight",
    ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    0,
)
PROJECTION = Weight("self_attention.linear_proj.weight", ("self_attn.o_proj.weight",), 1)
MLP_NORM = Weight("mlp.linear_fc1.layer_norm_weight", ("post_attention_layernorm.weight",))
GATE_UP = Weight("mlp.linear_fc1.weight", ("mlp.gate_proj.weight", "mlp.up_proj.weight"), 0)
DOWN = Weight("mlp.linear_fc2.weight", ("mlp.down_proj.weight",), 1)
LAYER = (ATTENTION_NORM, QKV, PROJECTION, MLP_NORM, GATE_UP, DOWN)

Block = tuple[int, int, int]  # first row in the Hugging Face tensor, first row in Megatron's, number of rows


@dataclass(frozen=True)
class Part:
    """A Hugging Face tensor, and where its rows are in a Megatron weight.

    Attributes:
        name: of the Hugging Face tensor.
        shape: of it.
        weight, layer: Megatron's weight, and its layer (None outside the layers).
        blocks: rows that stay together.
    """

    name: str
    shape: tuple[int, ...]
    weight: Weight
    layer: int | None
    blocks: tuple[Block, ...]


def parts(architecture: Architecture) -> Iterator[Part]:
    """Yield every Hugging Face tensor of a Llama; tied embeddings have no output layer of their own."""
    yield from _parts_of(EMBEDDING, architecture)
    for layer in range(architecture.layers):
        for weight in LAYER:
            yield from _parts_of(weight, architecture, layer)
    yield from _parts_of(FINAL_NORM, architecture)
    if not architecture.tied:
        yield from _parts_of(OUTPUT, architecture)


def vocabulary_names(architecture: Architecture) -> list[str]:
    """Return the Hugging Face tensors with a row for each id; the last is the one that logits are computed with."""
    return [part.name for part in parts(architecture) if part.weight.vocabulary]


def _parts_of(weight: Weight, architecture: Architecture, layer: int | None = None) -> Iterator[Part]:
    rows_of, columns = _sizes(architecture)[weight]
    prefix = "" if layer is None else f"model.layers.{layer}."
    begin = 0
    for index, (name, rows) in enumerate(zip(weight.huggingface, rows_of, strict=True)):
        shape = (rows, columns) if columns else (rows,)
        blocks = _interleaved(index, architecture) if weight is QKV else ((0, begin, rows if columns else 1),)
        yield Part(prefix + name, shape, weight, layer, blocks)
        begin += rows


def _sizes(a: Architecture) -> dict[Weight, tuple[tuple[int, ...], int]]:
    """Return the rows of each Hugging Face tensor of a weight, and their columns; 0 columns: a vector."""
    queries, keys = a.heads * a.head_size, a.key_value_heads * a.head_size
    return {
        EMBEDDING: ((a.vocab_size,), a.hidden_size),
        FINAL_NORM: ((a.hidden_size,), 0),
        OUTPUT: ((a.vocab_size,), a.hidden_size),
        ATTENTION_NORM: ((a.hidden_size,), 0),
        QKV: ((queries, keys, keys), a.hidden_size),
        PROJECTION: ((a.hidden_size,), queries),
        MLP_NORM: ((a.hidden_size,), 0),
        GATE_UP: ((a.feed_forward_size, a.feed_forward_size), a.hidden_size),
        DOWN: ((a.hidden_size,), a.feed_forward_size),
    }


def _interleaved(index: int, a: Architecture) -> tuple[Block, ...]:
    """Return the blocks of query (0), key (1) or value (2): Megatron has (q .. q, k, v) for each key-value head."""
    queries = a.heads // a.key_value_heads
    heads = queries if index == 0 else 1  # of the tensor, in a group
    before = (0, queries, queries + 1)[index]  # heads of the group that come before
    size = a.head_size
    return tuple(
        (group * heads * size, (group * (queries + 2) + before) * size, heads * size)
        for group in range(a.key_value_heads)
    )


def megatron_shape(weight: Weight, architecture: Architecture, padded_vocab_size: int) -> tuple[int, ...]:
    """Return the shape of a Megatron weight; of one layer where it is a layer's."""
    rows_of, columns = _sizes(architecture)[weight]
    rows = padded_vocab_size if weight.vocabulary else sum(rows_of)
    return (rows, columns) if columns else (rows,)


def regions_of(part: Part, megatron: list[Region]) -> list[Region]:
    """Return where a Hugging Face tensor's rows lie, given where the Megatron weight that holds them does."""
    return [
        region.moved(row - megatron_row)
        for row, megatron_row, rows in part.blocks
        for region in cut_all(megatron, megatron_row, rows)
    ]
