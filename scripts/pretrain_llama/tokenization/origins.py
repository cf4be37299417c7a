"""Trace the lines of a merged shard back to their vendor files."""

from bisect import bisect_right
from itertools import accumulate

import numpy as np

from pretrain_llama.receipts import MergedRange, MergeReceipt

NEWLINE = ord("\n")


class Origins:
    """The ranges of a shard, by the bytes that they take in it. Blocks of the shard are passed in their order."""

    def __init__(self, merged: MergeReceipt) -> None:
        self._ranges = merged.ranges
        sizes = [part.bytes + part.newline_added for part in merged.ranges]
        self._starts = [0, *accumulate(sizes)][:-1]
        self._lines_before: list[int] = []  # of each range that has begun in a block passed

    def pass_block(self, start: int, block: memoryview, lines_before: int) -> None:
        """Note the ranges that begin in a block of whole lines.

        Args:
            start: of the block in the shard, in bytes.
            block: its bytes.
            lines_before: lines of the shard before it.
        """
        first = len(self._lines_before)
        begun = bisect_right(self._starts, start + len(block) - 1)
        if begun > first:
            newlines = np.flatnonzero(np.frombuffer(block, np.uint8) == NEWLINE)
            offsets = np.array(self._starts[first:begun]) - start
            self._lines_before += (lines_before + np.searchsorted(newlines, offsets)).tolist()

    def of(self, offset: int, line: int) -> tuple[MergedRange, int]:
        """Return the range that a line came from, and the number of the line in it, from 1.

        Args:
            offset: where the line begins in the shard, in bytes; in a block that was passed.
            line: its number in the shard, from 1.
        """
        index = bisect_right(self._starts, offset) - 1
        return self._ranges[index], line - self._lines_before[index]
