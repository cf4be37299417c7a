"""Keys of documents: a hash of each text, by which documents of equal text are found without reading the texts.

A key is the XXH3 hash (128 bits, seed 0) of the text as the hold-out sees it (held_out.py), in its canonical form, the
high byte first, as `xxhsum -H2` prints it. A pair's keys lie beside it, PREFIX.keys: 16 bytes a document, in the order
of the .idx. Among 10^9 different texts, two have the same key with a probability of 10^-21.
"""

import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from xxhash import xxh3_128_digest

from pretrain_llama import stores
from pretrain_llama.errors import ConfigError, DataError
from pretrain_llama.tokenization.held_out import Hashed

KEY_BYTES = 16
KEYS_SUFFIX = ".keys"


def keys_of(hashed: Sequence[Hashed]) -> np.ndarray:
    """Return the keys of texts that are as they are hashed (`held_out.as_hashed`): (texts, 16) uint8."""
    return np.frombuffer(b"".join(map(xxh3_128_digest, hashed)), np.uint8).reshape(-1, KEY_BYTES)


def read_keys(prefix: str | Path, documents: int, first: int = 0, count: int | None = None) -> np.ndarray:
    """Return keys of a pair, (count, 16) uint8.

    Args:
        prefix: of the pair; a path, or a location in a store.
        documents: that the pair has.
        first: number of the first document, from 0.
        count: of documents; None for all from the first one on.

    Raises:
        DataError: there are no keys, or not one for each document.
    """
    location = f"{prefix}{KEYS_SUFFIX}"
    count = documents - first if count is None else count
    try:
        size = stores.size_bytes(location)
        found = stores.read_range(location, first * KEY_BYTES, count * KEY_BYTES) if count else b""
    except FileNotFoundError:
        raise DataError(
            "the keys of its documents are missing", where=location, action="make them: snakemake keys"
        ) from None
    if size != documents * KEY_BYTES or len(found) != count * KEY_BYTES:
        raise DataError(
            f"{size:,} bytes are no keys of {documents:,} documents, of {KEY_BYTES} bytes each",
            where=location,
            action="delete the file, and make it again: snakemake keys",
        )
    return np.frombuffer(found, np.uint8).reshape(-1, KEY_BYTES)


def keyed_pairs(tokenized: str) -> list[str]:
    """Return the prefixes of the pairs that have keys, by one listing; tokenized: where a tokenizer's pairs are."""
    try:
        found = stores.list_files(f"{glob.escape(tokenized)}/*{KEYS_SUFFIX}", "")
    except ConfigError:  # none has
        return []
    return [file.path.removesuffix(KEYS_SUFFIX) for file in found]
