"""Find documents that two sets of .bin/.idx pairs share, by comparing their ids."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from blake3 import blake3

from pretrain_llama.tokenization.indexed import IndexedReader

LOOKED_AT = 8  # ids of a document, evenly spaced, that tell most documents apart
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, of the golden ratio: Knuth's multiplicative hashing
BLOCK = 1 << 20


@dataclass(frozen=True)
class Common:
    """A document that is on both sides: in which pair, and its number there, from 0."""

    pair: Path
    document: int


class DocumentSet:
    """The documents of some pairs, small enough to keep a hash of each in memory."""

    def __init__(self, prefixes: list[Path]) -> None:
        """Read the pairs; DataError: one is missing or damaged."""
        self.count = 0
        self._digests: set[bytes] = set()
        keys = [np.empty(0, np.uint64)]
        for pair in map(IndexedReader, prefixes):
            self.count += pair.documents
            keys += [_keys(pair, first, last) for first, last in _blocks(pair)]
            self._digests.update(_digest(pair, document) for document in range(pair.documents))
        self._keys = np.unique(np.concatenate(keys))

    def common_with(self, prefix: Path) -> Iterator[Common]:
        """Yield the documents of a pair that are in the set too."""
        pair = IndexedReader(prefix)
        for first, last in _blocks(pair):
            for document in first + np.flatnonzero(np.isin(_keys(pair, first, last), self._keys)):
                if _digest(pair, int(document)) in self._digests:
                    yield Common(prefix, int(document))


def _blocks(pair: IndexedReader) -> Iterator[tuple[int, int]]:
    for first in range(0, pair.documents, BLOCK):
        yield first, min(first + BLOCK, pair.documents)


def _keys(pair: IndexedReader, first: int, last: int) -> np.ndarray:
    """Return a key of each document, (last - first,) uint64, from its length and some of its ids."""
    lengths = np.asarray(pair.lengths[first:last], np.int64)
    starts = np.asarray(pair.offsets[first:last]) // pair.dtype.itemsize
    keys = lengths.astype(np.uint64)
    ids = pair.tokens_array
    filled = lengths > 0
    for part in range(LOOKED_AT):
        at = starts[filled] + lengths[filled] * part // LOOKED_AT
        keys[filled] = (keys[filled] ^ ids[at].astype(np.uint64)) * MULTIPLIER
    return keys


def _digest(pair: IndexedReader, document: int) -> bytes:
    start = pair.offsets[document] // pair.dtype.itemsize
    return blake3(pair.tokens_array[start : start + pair.lengths[document]].tobytes()).digest()
