"""Join ranges of vendor files into one jsonl shard: their bytes, unparsed, and a newline where a range lacks its last.

Lines stay as they are, blank ones and \\r\\n included, so that the n-th line of a shard is known as a line of a vendor
file, and a merge can also happen inside a store, where nothing reads lines.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from pretrain_llama import __version__, files
from pretrain_llama.progress import Progress
from pretrain_llama.receipts import MergedRange, MergeReceipt
from pretrain_llama.shards.sources import copy_range

NEWLINE = ord("\n")


def merge(
    shard: str, ranges: list[dict[str, Any]], text_key: str, output: str | Path, expected_bytes: int
) -> MergeReceipt:
    """Write the lines of some ranges to a jsonl file, each ended by a newline.

    Args:
        shard: the name of the shard.
        ranges: {"path", "start", "stop"} as a plan records them.
        text_key: key of the text; it names the column of a parquet file.
        output: the jsonl file.
        expected_bytes: size of the shard as planned, for the progress shown.

    Raises:
        DataError: a file cannot be read whole.
    """
    receipt = MergeReceipt(shard, __version__)
    with (
        files.replacing(output, "w+b", buffering=0) as file,
        Progress(expected_bytes, "B", f"merge {shard}") as progress,
        ReadBack(file.fileno()) as read_back,
    ):
        for planned in ranges:
            merged = MergedRange(**planned)
            for count in copy_range(file, text_key=text_key, **planned):
                read_back.count(count)
                merged.bytes += count
                progress.advance(count)
            if merged.bytes and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                file.write(b"\n")
                read_back.count(1)
                receipt.newlines_added += 1
            merged.lines = read_back.lines()
            receipt.ranges.append(merged)
        receipt.lines = sum(merged.lines for merged in receipt.ranges)
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
