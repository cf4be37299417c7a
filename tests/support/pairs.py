"""Pairs of .bin and .idx, as tests write them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pretrain_llama.tokenization.indexed import writing_indexed


def write_pair(prefix: Path, documents: Sequence[Sequence[int] | np.ndarray], dtype: type = np.uint16) -> None:
    """Write a pair of documents, given as ids."""
    ids = np.concatenate([np.empty(0, dtype), *documents]).astype(dtype)
    with writing_indexed(prefix, np.dtype(dtype)) as writer:
        writer.add_documents(ids, np.array([len(document) for document in documents], int))


def write_random_pair(prefix: Path, lengths: list[int], dtype: type = np.uint16) -> None:
    """Write a pair of documents of these lengths, in tokens."""
    ids = np.random.default_rng(0).integers(3, 500, sum(lengths))
    write_pair(prefix, np.split(ids, np.cumsum(lengths)[:-1]) if lengths else [], dtype)


def counted_name(shard: str, lengths: list[int]) -> str:
    """The name of a shard whose documents have these lengths, in tokens."""
    return f"{shard}_text_document_dc={len(lengths)}_sc={len(lengths)}_tc={sum(lengths)}"
