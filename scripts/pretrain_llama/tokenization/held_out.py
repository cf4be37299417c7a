"""Choose documents to hold out for validation by a hash of their text, whatever shard they are in.

The same text is always on the same side, so no document is on both, and every tokenizer holds out the same documents.
There is one exception: to the model of a tokenizer that normalizes, "ﬁne" and "fine" are the same text, so there the
normalized text is hashed, and other documents may be held out. The same holds where a tokenizer puts a space before a
text that has none. SentencePiece writes spaces as ▁, so the hash takes the two as equal for all tokenizers.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from xxhash import xxh3_64_intdigest

from pretrain_llama.tokenization.engines import Encoded
from pretrain_llama.tokenization.normalizing import Normalize
from pretrain_llama.tokenization.texts import Texts

MARK = "▁".encode()
Hashed = bytes | memoryview  # a text, UTF-8


def are_held_out(texts: Texts, fraction: float, normalize: Normalize | None = None) -> np.ndarray:
    """Say which documents are held out: those whose XXH3 hash (64 bits, seed 0) is below fraction x 2^64.

    Args:
        texts: of the documents.
        fraction: of all documents, 0 to 1.
        normalize: the tokenizer's, if it has one.

    Returns:
        (texts,) bool.
    """
    if not fraction:
        return np.zeros(len(texts), bool)
    return are_chosen(as_hashed(texts, normalize), fraction)


def as_hashed(texts: Texts, normalize: Normalize | None) -> list[Hashed]:
    """Return each text as it is hashed: normalized, and with spaces for ▁."""
    data = texts.data.data
    parts: list[Hashed] = [data[start:end] for start, end in pairwise(texts.offsets.tolist())]
    if normalize:
        return [normalize(bytes(part).decode()).encode().replace(MARK, b" ") for part in parts]
    for number in _with_mark(texts):
        parts[number] = bytes(parts[number]).replace(MARK, b" ")
    return parts


def are_chosen(hashed: Sequence[Hashed], fraction: float) -> np.ndarray:
    """Say which documents are held out, (texts,) bool; hashed: their texts, `as_hashed`."""
    if not fraction:
        return np.zeros(len(hashed), bool)
    return np.fromiter(map(xxh3_64_intdigest, hashed), np.uint64, len(hashed)) < int(fraction * 2**64)


def _with_mark(texts: Texts) -> list[int]:
    """Return the texts that have MARK in them; its first byte is looked for first, which few texts have often."""
    first, second, third = MARK
    data = texts.data
    places = np.flatnonzero(data[:-2] == first)
    places = places[(data[places + 1] == second) & (data[places + 2] == third)]
    return np.unique(np.searchsorted(texts.offsets, places, "right") - 1).tolist() if len(places) else []


def divide(encoded: Encoded, held_out: np.ndarray) -> tuple[Encoded, Encoded]:
    """Return the documents to train on, and those held out, each in their order."""
    ids, lengths = encoded
    if not held_out.any():
        return encoded, (ids[:0], lengths[:0])
    of_held_out = np.repeat(held_out, lengths)
    return (ids[~of_held_out], lengths[~held_out]), (ids[of_held_out], lengths[held_out])
