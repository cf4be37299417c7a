"""Count the parameters of a Llama by part, and those of the first and last pipeline stage.

    embedding           V x H; and as many in the output layer, unless it shares them
    attention, a layer  H x (2 Q + 2 K) x D: Q query heads and K key-value heads of D channels
    feed-forward        3 H x F: gate, up and down
    norms               2 H a layer, and H at the end

V vocabulary, as delivered or as Megatron pads it; H hidden size; F feed-forward size.
"""

from pretrain_llama.checkpoints.architecture import Architecture

ATTENTION, FEED_FORWARD, NORMS = "attention", "feed-forward", "norms"


def count(a: Architecture, vocab_size: int) -> dict[str, int]:
    """Return the parameters of a model by part; vocab_size: rows of the embedding."""
    parts = {
        "embedding": vocab_size * a.hidden_size,
        ATTENTION: a.layers * a.hidden_size * (2 * a.heads + 2 * a.key_value_heads) * a.head_size,
        FEED_FORWARD: a.layers * 3 * a.hidden_size * a.feed_forward_size,
        NORMS: a.layers * 2 * a.hidden_size + a.hidden_size,
    }
    return parts if a.tied else parts | {"output": parts["embedding"]}


def on_outer_stages(a: Architecture, tensor: int, pipeline: int) -> tuple[float, float]:
    """Return the parameters of a process of the first pipeline stage, and of the last; equal if they are one.

    Both hold a part of the layers, and the embedding or its other half, the output layer; a tied output layer is a copy
    of the embedding on the last stage. Norms are whole on every tensor parallel process; the one at the end is on the
    last stage.
    """
    parts = count(a, a.padded_vocab_size(tensor))
    final = a.hidden_size
    matrices = (parts[ATTENTION] + parts[FEED_FORWARD]) / pipeline
    norms = (parts[NORMS] - final) / pipeline
    if pipeline == 1:
        whole = (matrices + parts["embedding"] + parts.get("output", 0)) / tensor + norms + final
        return whole, whole
    first = (matrices + parts["embedding"]) / tensor + norms
    return first, first + final
