"""The parameters of a Llama by part, and of the fullest process of a parallel training. Imports no torch.

    embedding           V x H; and as many in the output layer, unless it shares them
    attention, a layer  H x (2 Q + 2 K) x D: Q query heads and K key-value heads of D channels
    feed-forward        3 H x F: gate, up and down
    norms               2 H a layer, and H at the end

V vocabulary, as delivered or as Megatron pads it; H hidden size; F feed-forward size.
"""

from pretrain_llama.checkpoints.architecture import Architecture

NORMS = "norms"


def count(a: Architecture, vocab_size: int) -> dict[str, int]:
    """Return the parameters of a model by part; vocab_size: rows of the embedding."""
    parts = {
        "embedding": vocab_size * a.hidden_size,
        "attention": a.layers * a.hidden_size * (2 * a.heads + 2 * a.key_value_heads) * a.head_size,
        "feed-forward": a.layers * 3 * a.hidden_size * a.feed_forward_size,
        NORMS: a.layers * 2 * a.hidden_size + a.hidden_size,
    }
    return parts if a.tied else parts | {"output": parts["embedding"]}


def on_fullest_process(a: Architecture, tensor: int, pipeline: int) -> float:
    """Return the parameters of the process that holds most: of the first pipeline stage, or of the last.

    Both hold a part of the layers, and the embedding or its other half, the output layer; a tied output layer is a copy
    of the embedding on the last stage. Norms are whole on every tensor parallel process.
    """
    parts = count(a, a.padded_vocab_size(tensor))
    final = a.hidden_size
    layers = parts["attention"] + parts["feed-forward"]
    vocabulary = parts["embedding"] + parts.get("output", 0) if pipeline == 1 else parts["embedding"]
    return layers / pipeline / tensor + vocabulary / tensor + (parts[NORMS] - final) / pipeline + final
