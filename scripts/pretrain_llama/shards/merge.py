"""Merge byte ranges of vendor files into one jsonl shard, unparsed; each range ends with a newline.

Lines stay as they are, blank ones and \\r\\n included, so that the n-th line of a shard is known as a line of a vendor
file, and a merge can also happen inside a store, where nothing reads lines.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from blake3 import blake3

from pretrain_llama import __version__, files
from pretrain_llama.progress import Progress
from pretrain_llama.receipts import MergedRange, MergeReceipt
from pretrain_llama.shards import plan as shards
from pretrain_llama.shards.planned import Plan
from pretrain_llama.shards.sources import blocks_of

NEWLINE = b"\n"
BLOCKS_AHEAD = 3


def merge(plan: Plan, shard: str, output: str | Path) -> MergeReceipt:
    """Write the lines of a shard's ranges to a jsonl file, each ended by a newline.

    Args:
        plan: that holds the shard.
        shard: its name.
        output: the jsonl file.

    Raises:
        DataError: a vendor file cannot be read whole, or has changed since it was planned.
    """
    planned_shard = shards.planned_shard(plan, shard)
    receipt = MergeReceipt(shard, __version__)
    with (
        files.replacing(output, "wb", buffering=0) as file,
        Progress(planned_shard["bytes"], "B", f"merge {shard}") as progress,
        Tally() as tally,
    ):
        for planned in planned_shard["ranges"]:
            merged = MergedRange(**planned)
            last = NEWLINE
            for block in blocks_of(text_key=plan["text_key"], etag=shards.etag(plan, merged.path), **planned):
                tally.take(block)
                files.write_all(file, block)
                last = block[-1:]
                merged.bytes += len(block)
                progress.advance(len(block))
            if last != NEWLINE:
                tally.take(NEWLINE)
                files.write_all(file, NEWLINE)
                merged.newline_added = True
            merged.lines = tally.lines()
            receipt.ranges.append(merged)
        shards.check_unchanged(plan, shard)
        receipt.lines = sum(merged.lines or 0 for merged in receipt.ranges)
        receipt.bytes = file.tell()
    receipt.blake3 = tally.digest.hexdigest()
    return receipt


class Tally:
    """Hashes blocks and counts their newlines, beside the thread that reads and writes them.

    Attributes:
        digest: BLAKE3 of what was taken; complete when the context is left.
    """

    def __init__(self) -> None:
        self.digest = blake3()
        self._lines = 0
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[Future[int]] = deque()

    def __enter__(self) -> "Tally":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def take(self, block: bytes) -> None:
        """Take the next block; wait while many are taken and not yet counted."""
        self._pending.append(self._pool.submit(self._count, block))
        self._count_until(BLOCKS_AHEAD)

    def lines(self) -> int:
        """Return the number of newlines since this was last asked."""
        self._count_until(0)
        lines, self._lines = self._lines, 0
        return lines

    def _count_until(self, left: int) -> None:
        while len(self._pending) > left:
            self._lines += self._pending.popleft().result()

    def _count(self, block: bytes) -> int:
        self.digest.update(block)
        return int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord(NEWLINE)))
