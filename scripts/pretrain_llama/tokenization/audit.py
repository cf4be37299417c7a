"""Audit a .bin/.idx pair: check all that can be wrong with it, and decode some documents to read."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pretrain_llama.errors import DataError
from pretrain_llama.names import parse_counted
from pretrain_llama.tokenization.engines import Reference
from pretrain_llama.tokenization.indexed import IndexedReader

CHUNK = 1 << 22


@dataclass
class Audit:
    """The result of auditing a pair; rates are fractions of its documents, 0 to 1."""

    documents: int
    tokens: int
    empty: int
    smallest_id: int
    largest_id: int
    bos_rate: float | None
    eos_rate: float | None
    defects: list[str]


def audit(prefix: Path, reference: Reference | None, bos_id: int | None, eos_id: int | None) -> Audit:
    """Check a pair.

    Args:
        prefix: its path, without .bin and .idx; if its name carries counts, they are checked.
        reference: engine of its tokenizer, for the vocabulary; None checks no ids.
        bos_id, eos_id: what documents should begin and end with; None where they should not, or it is unknown.

    Returns:
        What was found. A pair that cannot be read at all is one defect, and zero documents.
    """
    try:
        pair = IndexedReader(prefix)
    except DataError as error:
        return Audit(0, 0, 0, 0, 0, None, None, [str(error).partition("\n")[0]])
    defects = list(_index_defects(pair))
    if not defects:
        defects += _name_defects(pair)
    smallest, largest = _id_range(pair)
    if smallest < 0 or (reference and largest >= reference.vocab_size):
        size = reference.vocab_size if reference else "unknown"
        defects.append(f"ids from {smallest} to {largest}, with a vocabulary of {size}")
    bos_rate = _edge_rate(pair, 0, bos_id)
    eos_rate = _edge_rate(pair, -1, eos_id)
    defects += [
        f"{rate:.4%} of the documents {verb} with {role}"
        for role, verb, rate in [("BOS", "begin", bos_rate), ("EOS", "end", eos_rate)]
        if rate is not None and rate < 1
    ]
    empty = int(np.count_nonzero(pair.lengths == 0))
    return Audit(pair.documents, pair.tokens, empty, smallest, largest, bos_rate, eos_rate, defects)


def decoded_documents(prefix: Path, reference: Reference, count: int) -> Iterator[tuple[int, str]]:
    """Yield random documents of a pair, decoded, each with its number from 0."""
    pair = IndexedReader(prefix)
    for document in sorted(random.Random(0).sample(range(pair.documents), min(count, pair.documents))):
        start = int(pair.offsets[document]) // pair.dtype.itemsize
        ids = pair.tokens_array[start : start + int(pair.lengths[document])]
        yield document, reference.decode(ids.tolist())


def _index_defects(pair: IndexedReader) -> Iterator[str]:
    if np.any(pair.lengths < 0):
        yield f"{np.count_nonzero(pair.lengths < 0)} sequences have a negative length"
        return
    if len(pair.tokens_array) > pair.tokens:  # some documents are left out, as its name counts
        return
    ends = np.cumsum(pair.lengths, dtype=np.int64) * pair.dtype.itemsize
    wrong = np.flatnonzero(pair.offsets != ends - pair.lengths.astype(np.int64) * pair.dtype.itemsize)
    if len(wrong):
        yield f"{len(wrong)} offsets are not the sum of the lengths before them; the first is of sequence {wrong[0]}"
    boundaries = pair.boundaries
    if not len(boundaries) or boundaries[0] != 0 or boundaries[-1] != pair.sequences or np.any(np.diff(boundaries) < 0):
        yield f"the document boundaries do not go from 0 to {pair.sequences} in order"


def _name_defects(pair: IndexedReader) -> list[str]:
    name = pair.prefix.name
    if "_dc=" not in name:
        return []
    if pair.counts == parse_counted(name).counts:
        return []
    return [f"the name says other counts than the index: {pair.counts}"]


def _id_range(pair: IndexedReader) -> tuple[int, int]:
    tokens = pair.tokens_array
    chunks = [tokens[first : first + CHUNK] for first in range(0, len(tokens), CHUNK)]
    return min((int(c.min()) for c in chunks), default=0), max((int(c.max()) for c in chunks), default=0)


def _edge_rate(pair: IndexedReader, edge: int, token: int | None) -> float | None:
    """Return the fraction of documents whose first (edge 0) or last (-1) id is a token; None without documents."""
    if token is None or not pair.documents or not pair.tokens:
        return None
    begins = np.asarray(pair.offsets) // pair.dtype.itemsize
    positions = np.where(pair.lengths > 0, begins + pair.lengths - 1 if edge else begins, -1)
    ids = pair.tokens_array[np.minimum(positions[positions >= 0], len(pair.tokens_array) - 1)]
    return float(np.count_nonzero(ids == token) / len(positions))
