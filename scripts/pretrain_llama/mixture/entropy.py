"""Unigram entropy: the loss of the best model that ignores context."""

import numpy as np

BLOCK_TOKENS = 1 << 16
BLOCKS = 16


def unigram_entropy(arrays: list[np.ndarray], probabilities: list[float]) -> float:
    """Return the entropy of the token distribution that a mixture draws from, in nats a token.

    H = - sum over the ids of q ln q, where q is the mean of the shards' token frequencies, weighted by probability.

    Args:
        arrays: tokens of each shard, (tokens,); of a long one, 16 blocks of 65,536 tokens, evenly spaced, are counted.
            Of a pair without some documents, those of its .bin are.
        probabilities: of each shard, summing to 1.
    """
    vocab_size = 1 + max(int(block.max()) for array in arrays for block in _blocks(array))
    q = np.zeros(vocab_size)
    for array, probability in zip(arrays, probabilities, strict=True):
        counts = np.sum([np.bincount(block, minlength=vocab_size) for block in _blocks(array)], axis=0)
        q += probability * counts / counts.sum()
    q = q[q > 0]
    return float(-(q * np.log(q)).sum())


def _blocks(array: np.ndarray) -> list[np.ndarray]:
    if len(array) <= BLOCKS * BLOCK_TOKENS:
        return [array]
    starts = np.linspace(0, len(array) - BLOCK_TOKENS, BLOCKS).astype(int)
    return [array[start : start + BLOCK_TOKENS] for start in starts]
