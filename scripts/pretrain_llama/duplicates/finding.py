"""Find the documents whose text stands before them in a list of pairs: by keys, in bounded memory.

The first halves of a part's keys (spill.py) are numbers whose first bits are the same. These are moved out, and the
last bits become the document's place in the part, so that one sort of plain numbers brings equal keys together, the
first document first. What agrees in the bits that are left is then compared by the whole key.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pretrain_llama.duplicates.spill import Spill, bits_for, blocks_of
from pretrain_llama.progress import Progress

BYTES_A_DOCUMENT = 96  # of a part, at most, while it is searched: where all of its documents are copies
LARGEST = 10  # groups of copies that are remembered


@dataclass(frozen=True)
class Pair:
    """A pair whose documents are compared.

    Attributes:
        name: of its shard.
        documents: that it has.
        read: returns keys, (count, 16) uint8, given the first document and how many.
        left_out: (left out,) documents that count as not there, ascending.
    """

    name: str
    documents: int
    read: Callable[[int, int], np.ndarray]
    left_out: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass
class Found:
    """The copies among the documents of some pairs.

    Attributes:
        copies: of each pair, (copies,) int64, the documents whose text stands in an earlier pair, or earlier in theirs.
        pairs: how many copies, by the number of the pair that has the first, and that of the pair that has the copy.
        largest: for the texts with most copies, how often each is there, and where: (number of the pair, document).
    """

    copies: list[np.ndarray]
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)
    largest: list[tuple[int, list[tuple[int, int]]]] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """Copies of a part: their numbers, those of the first of each, and the largest groups."""

    copies: np.ndarray
    firsts: np.ndarray
    largest: list[tuple[int, list[int]]]


def find(pairs: Sequence[Pair], memory_bytes: int, threads: int, scratch: Path | None = None) -> Found:
    """Return the copies among the documents of pairs; the first of equal texts is none, in the order of the pairs.

    Args:
        pairs: to compare.
        memory_bytes: to take at most, besides a byte a document on disk.
        threads: to search with.
        scratch: folder for 24 bytes a document, removed; None takes the system's.

    Raises:
        DataError: a pair's keys are missing or damaged.
    """
    starts = np.cumsum([0] + [pair.documents for pair in pairs])
    blocks = [
        block
        for pair, start in zip(pairs, starts.tolist(), strict=False)
        for block in blocks_of(pair.documents, start, pair.read, pair.left_out)
    ]
    total = int(starts[-1])
    with tempfile.TemporaryDirectory(dir=scratch) as folder, Progress(2 * total, "documents", "compare") as progress:
        is_copy = np.memmap(f"{folder}/copies", bool, "w+", shape=max(total, 1))
        spill = Spill(Path(folder), bits_for(total, max(1, memory_bytes // (threads * BYTES_A_DOCUMENT))), blocks)
        found = Found([])
        try:
            spill.write(threads, progress.advance)
            with ThreadPoolExecutor(threads) as pool:
                for part in pool.map(lambda number: _search(spill, number), range(1 << spill.bits)):
                    _take(part, starts, is_copy, found)
                    progress.advance(total >> spill.bits)
        finally:
            spill.close()
        for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            found.copies.append(np.flatnonzero(is_copy[start:stop]))
    return found


def _take(part: _Part, starts: np.ndarray, is_copy: np.ndarray, found: Found) -> None:
    """Add the copies of a part to those found."""
    is_copy[part.copies] = True
    of, by = (np.searchsorted(starts, numbers, "right") - 1 for numbers in (part.firsts, part.copies))
    names, counts = np.unique(of * len(starts) + by, return_counts=True)
    for name, count in zip(names.tolist(), counts.tolist(), strict=True):
        found.pairs[divmod(name, len(starts))] += count
    for size, numbers in part.largest:
        pair = np.searchsorted(starts, numbers, "right") - 1
        where = list(zip(pair.tolist(), (np.array(numbers) - starts[pair]).tolist(), strict=True))
        found.largest.append((size, where))
    found.largest = sorted(found.largest, key=lambda group: (-group[0], group[1]))[:LARGEST]


def _search(spill: Spill, number: int) -> _Part:
    """Return the copies of a part."""
    high = spill.high_halves(number)
    candidates = _candidates(high, spill.bits)
    if not len(candidates):
        return _Part(candidates, candidates, [])
    low, numbers = spill.rest(number, candidates)
    high = high[candidates]
    order = np.lexsort((numbers, low, high))
    high, low, numbers = high[order], low[order], numbers[order].astype(np.int64)
    is_copy = np.zeros(len(high), bool)
    is_copy[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    firsts = np.flatnonzero(~is_copy)
    sizes = np.diff(firsts, append=len(high))
    first_of = np.repeat(firsts, sizes)
    largest = [
        (int(sizes[group]), numbers[firsts[group] : firsts[group] + min(sizes[group], LARGEST)].tolist())
        for group in np.argsort(-sizes, kind="stable")[:LARGEST].tolist()
        if sizes[group] > 1
    ]
    return _Part(numbers[is_copy], numbers[first_of[is_copy]], largest)


def _candidates(high: np.ndarray, bits: int) -> np.ndarray:
    """Return the places, ascending by key, of documents that may have equal keys; high: (documents,) uint64."""
    places = max(1, len(high) - 1).bit_length()
    mask = np.uint64((1 << places) - 1)
    mixed = ((high << np.uint64(bits)) & ~mask) | np.arange(len(high), dtype=np.uint64)
    mixed.sort()
    same = (mixed[1:] ^ mixed[:-1]) <= mask
    member = np.zeros(len(high), bool)
    if same.any():
        member[1:] = same
        member[:-1] |= same
    return (mixed[member] & mask).astype(np.int64)
