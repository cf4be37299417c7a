"""Join ranges of vendor files into one jsonl shard: their bytes, unparsed, and a newline where a range lacks its last.

Lines stay as they are, blank ones and \\r\\n included, so that the n-th line of a shard is known as a line of a vendor
file, and a merge can also happen inside a store, where nothing reads lines.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from blake3 import blake3

from pretrain_llama import __version__, files
from pretrain_llama.progress import Progress
from pretrain_llama.receipts import MergedRange, MergeReceipt
from pretrain_llama.shards import plan as shards
from pretrain_llama.shards.plan import Plan
from pretrain_llama.shards.sources import copy_range

NEWLINE = ord("\n")


def merge(plan: Plan, shard: str, output: str | Path) -> MergeReceipt:
    """Write the lines of a shard's ranges to a jsonl file, each ended by a newline.

    Args:
        plan: that holds the shard.
        shard: its name.
        output: the jsonl file.

    Raises:
        DataError: a vendor file cannot be read whole, or a blob has changed since it was planned.
    """
    planned_shard = shards.planned_shard(plan, shard)
    receipt = MergeReceipt(shard, __version__)
    with (
        files.replacing(output, "w+b", buffering=0) as file,
        Progress(planned_shard["bytes"], "B", f"merge {shard}") as progress,
        ReadBack(file.fileno()) as read_back,
    ):
        for planned in planned_shard["ranges"]:
            merged = MergedRange(**planned)
            for count in copy_range(file, text_key=plan["text_key"], etag=shards.etag(plan, merged.path), **planned):
                read_back.count(count)
                merged.bytes += count
                progress.advance(count)
            if merged.bytes and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                file.write(b"\n")
                read_back.count(1)
                merged.newline_added = True
            merged.lines = read_back.lines()
            receipt.ranges.append(merged)
        receipt.lines = sum(merged.lines or 0 for merged in receipt.ranges)
        receipt.bytes = file.tell()
    receipt.blake3 = read_back.digest.hexdigest()
    return receipt


class ReadBack:
    """Count and hash a file as it now is, block after block, beside the thread that appends to it.

    Attributes:
        digest: BLAKE3 of what was counted; complete when the context is left.
    """

    def __init__(self, file_descriptor: int) -> None:
        self.digest = blake3()
        self._file = file_descriptor
        self._offset = 0
        self._buffer = bytearray()
        self._pool = ThreadPoolExecutor(1)
        self._pending: list[Future[int]] = []

    def __enter__(self) -> "ReadBack":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def count(self, length: int) -> None:
        """Take the next `length` bytes, which are written."""
        self._pending.append(self._pool.submit(self._count, self._offset, length))
        self._offset += length

    def lines(self) -> int:
        """Return the number of newlines since this was last asked."""
        lines = sum(future.result() for future in self._pending)
        self._pending.clear()
        return lines

    def _count(self, offset: int, length: int) -> int:
        if len(self._buffer) < length:
            self._buffer = bytearray(length)
        block = memoryview(self._buffer)[:length]
        read = os.preadv(self._file, [block], offset)
        assert read == length, (read, length)
        self.digest.update(block)
        return int(np.count_nonzero(np.frombuffer(block, np.uint8) == NEWLINE))
