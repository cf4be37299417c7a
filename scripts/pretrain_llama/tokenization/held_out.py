"""Documents held out of training, for validation: known by a hash of their text, whatever shard they are in.

The same text is always on the same side, so no document is on both, and every tokenizer holds out the same ones.
"""

from itertools import pairwise

import numpy as np
from xxhash import xxh3_64_intdigest

from pretrain_llama.tokenization.engines import Encoded
from pretrain_llama.tokenization.texts import Texts


def are_held_out(texts: Texts, fraction: float) -> np.ndarray:
    """Say which documents are held out: those whose XXH3 hash (64 bits, seed 0) is below fraction x 2^64.

    Args:
        texts: of the documents.
        fraction: of all documents, 0 to 1.

    Returns:
        (texts,) bool.
    """
    if not fraction:
        return np.zeros(len(texts), bool)
    data = memoryview(texts.data)
    hashes = (xxh3_64_intdigest(data[start:end]) for start, end in pairwise(texts.offsets.tolist()))
    return np.fromiter(hashes, np.uint64, len(texts)) < np.uint64(fraction * 2**64)


def divide(encoded: Encoded, held_out: np.ndarray) -> tuple[Encoded, Encoded]:
    """Return the documents to train on, and those held out, each in their order."""
    ids, lengths = encoded
    if not held_out.any():
        return encoded, (ids[:0], lengths[:0])
    of_held_out = np.repeat(held_out, lengths)
    return (ids[~of_held_out], lengths[~held_out]), (ids[of_held_out], lengths[held_out])
