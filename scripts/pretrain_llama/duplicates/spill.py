"""Part keys of any number by their first bits, on disk, so that each part can be searched in memory.

Blocks of keys are sorted by part and written one after the other, to three files: the first and the second half of each
key, and the document's number. A part is then a slice of each block.

    high        8 bytes a document, the first half of its key, as a little-endian number
    low         8 bytes a document, the second half
    numbers     8 bytes a document, its number among all documents
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

BLOCK_DOCUMENTS = 1 << 20
NAMES = ("high", "low", "numbers")
ITEM = 8  # bytes of a number in each file


@dataclass(frozen=True)
class Block:
    """Documents whose keys are read together.

    Attributes:
        first: number of the first one among all documents.
        read: returns their keys, (documents, 16) uint8.
        taken: (documents,) bool, those that take part; None for all.
        count: of those that take part.
    """

    first: int
    read: Callable[[], np.ndarray]
    taken: np.ndarray | None
    count: int


class Spill:
    """Keys on disk, in 2^bits parts."""

    def __init__(self, folder: Path, bits: int, blocks: list[Block]) -> None:
        """Create the files; blocks: all that `write` will write."""
        self.bits = bits
        self._blocks = blocks
        self._begins = np.cumsum([0] + [block.count for block in blocks])  # (blocks + 1,)
        self._ends = np.zeros((len(blocks), (1 << bits) + 1), np.int64)  # where the parts of a block end in it
        self._files = [os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600) for name in NAMES]

    def close(self) -> None:
        """Close the files; their folder's owner removes them."""
        for file in self._files:
            os.close(file)

    def write(self, threads: int, advance: Callable[[int], None]) -> None:
        """Read all blocks and write them; advance: told the documents of each block."""
        with ThreadPoolExecutor(threads) as pool:
            for count in pool.map(self._write_block, range(len(self._blocks))):
                advance(count)

    def _write_block(self, number: int) -> int:
        block = self._blocks[number]
        halves = np.ascontiguousarray(block.read()).view("<u8")
        numbers = np.arange(block.first, block.first + len(halves), dtype=np.uint64)
        if block.taken is not None:
            halves, numbers = halves[block.taken], numbers[block.taken]
        high, low = np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1])
        if self.bits:
            part = (high >> np.uint64(64 - self.bits)).astype(np.uint16)
            order = np.argsort(part, kind="stable")  # of 16-bit numbers, a radix sort
            high, low, numbers = high[order], low[order], numbers[order]
            self._ends[number, 1:] = np.cumsum(np.bincount(part, minlength=1 << self.bits))
        else:
            self._ends[number, 1] = len(high)
        for file, values in zip(self._files, (high, low, numbers), strict=True):
            _write_at(file, values, int(self._begins[number]) * ITEM)
        return len(high)

    def high_halves(self, part: int) -> np.ndarray:
        """Return the first halves of a part's keys, (documents of the part,) uint64, in the documents' order."""
        return self._slices(0, part)

    def rest(self, part: int, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return second halves and numbers of some documents of a part; which: (documents,), as places in the part."""
        return self._slices(1, part)[which], self._slices(2, part)[which]

    def _slices(self, file: int, part: int) -> np.ndarray:
        starts = self._begins[:-1] + self._ends[:, part]
        counts = self._ends[:, part + 1] - self._ends[:, part]
        found = np.empty(int(counts.sum()), np.uint64)
        at = 0
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            _read_at(self._files[file], found[at : at + count], start * ITEM)
            at += count
        return found


def bits_for(documents: int, most: int) -> int:
    """Return how many bits of the keys make parts of at most so many documents, where keys spread evenly."""
    bits = 0
    while documents > most << bits and bits < 16:
        bits += 1
    return bits


def blocks_of(
    documents: int, first: int, read: Callable[[int, int], np.ndarray], left_out: np.ndarray
) -> Iterable[Block]:
    """Yield the blocks of a pair.

    Args:
        documents: of the pair.
        first: number of its first one among all documents.
        read: returns keys, given the first document of the pair and how many.
        left_out: (left out,) those that take no part, numbered in the pair, ascending.
    """
    for start in range(0, documents, BLOCK_DOCUMENTS):
        count = min(BLOCK_DOCUMENTS, documents - start)
        inside = left_out[np.searchsorted(left_out, start) : np.searchsorted(left_out, start + count)]
        taken = None
        if len(inside):
            taken = np.ones(count, bool)
            taken[inside - start] = False
        yield Block(first + start, partial(read, start, count), taken, count - len(inside))


def _write_at(file: int, values: np.ndarray, offset: int) -> None:
    view = memoryview(values).cast("B")
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _read_at(file: int, values: np.ndarray, offset: int) -> None:
    view = memoryview(values).cast("B") if len(values) else memoryview(b"")
    while view:
        read = os.preadv(file, [view], offset)
        assert read, "a file of keys ends early"
        view, offset = view[read:], offset + read
