"""A seekable, read-only file over ranged reads, with prefetching."""

import io
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pretrain_llama.errors import DataError

RANGE_BYTES = 1 << 23
RANGES_AHEAD = 4


class RangedReader(io.RawIOBase):
    """A file whose ranges a function reads; four ranges of 8 MiB are prefetched, and held in memory.

    Args:
        read_range: gives the bytes of (start, length), fewer where the file ends.
        size: of the file, in bytes.
        location: of the file, for the message.

    Raises:
        DataError: when a range is read that has not the bytes it should have.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], size: int, location: str) -> None:
        self._read_range, self._size, self._location = read_range, size, location
        self._position = self._asked = 0
        self._ranges: deque[Future[bytes]] = deque()
        self._current = memoryview(b"")
        self._pool = ThreadPoolExecutor(RANGES_AHEAD)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        target = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if target != self._position:
            self._ranges.clear()
            self._current = memoryview(b"")
            self._position = self._asked = target
        return target

    def readinto(self, buffer: Any) -> int:
        if not self._current:
            while len(self._ranges) < RANGES_AHEAD and self._asked < self._size:
                self._ranges.append(self._pool.submit(self._whole_range, self._asked))
                self._asked += RANGE_BYTES
            if not self._ranges:
                return 0
            self._current = memoryview(self._ranges.popleft().result())
        count = min(len(buffer), len(self._current))
        buffer[:count] = self._current[:count]
        self._current = self._current[count:]
        self._position += count
        return count

    def _whole_range(self, start: int) -> bytes:
        wanted = min(RANGE_BYTES, self._size - start)
        found = self._read_range(start, wanted)
        if len(found) != wanted:
            raise DataError(
                f"{len(found)} of {wanted} bytes came, from byte {start} of {self._size}",
                where=self._location,
                action="run again; if it stays so, fetch the file again, and check its size",
            )
        return found

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        super().close()
