"""A shard's lines, in batches: the texts of its documents, and what became of the other lines."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from blake3 import blake3

from pretrain_llama.tokenization.documents import UTF8_BOM, Rejected, text_of
from pretrain_llama.tokenization.quarantine import Quarantine

BATCH_BYTES = 1 << 24


@dataclass
class Batch:
    """Consecutive lines: the texts of the documents in them, in UTF-8, and their counts."""

    texts: list[bytes] = field(default_factory=list)
    bytes: int = 0
    lines: int = 0
    blank: int = 0


class ShardReader:
    """Read a merged shard.

    Attributes:
        digest: BLAKE3 of the bytes read so far.
    """

    def __init__(self, file: BinaryIO, text_key: str, max_line_bytes: int, quarantine: Quarantine) -> None:
        """file: the shard, open; text_key: see `text_of`; a line of over max_line_bytes is rejected unread."""
        self.digest = blake3()
        self._file, self._text_key, self._max_line_bytes = file, text_key, max_line_bytes
        self._quarantine = quarantine
        self._lines_before = 0

    def batches(self) -> Iterator[Batch]:
        """Yield the shard in batches of about 16 MiB; a longer line makes a longer batch."""
        while (batch := self._read_batch()).lines:
            self._lines_before += batch.lines
            yield batch

    def _read_batch(self) -> Batch:
        batch = Batch()
        lines = []
        while batch.bytes < BATCH_BYTES and (line := self._file.readline(self._max_line_bytes + 1)):
            batch.lines += 1
            batch.bytes += len(line)
            if len(line) > self._max_line_bytes:
                self._digest_and_reset(lines)
                batch.bytes += self._reject_long(line, self._lines_before + batch.lines)
                continue
            lines.append(line)
            self._take(line, batch)
        self._digest_and_reset(lines)
        return batch

    def _take(self, line: bytes, batch: Batch) -> None:
        try:
            batch.texts.append(text_of(line, self._text_key))
        except Rejected as reason:
            if not line.removeprefix(UTF8_BOM).strip():
                batch.blank += 1
            else:
                self._quarantine.reject(self._lines_before + batch.lines, str(reason), [line.rstrip(b"\r\n")])

    def _reject_long(self, start: bytes, number: int) -> int:
        """Quarantine a long line, of which the start was read; return how many more bytes it had."""
        more = 0

        def pieces() -> Iterator[bytes]:
            nonlocal more
            piece = start
            while piece:
                self.digest.update(piece)
                yield piece.rstrip(b"\r\n") if piece.endswith(b"\n") else piece
                if piece.endswith(b"\n"):
                    return
                piece = self._file.readline(self._max_line_bytes)
                more += len(piece)

        self._quarantine.reject(number, "too_long", pieces())
        return more

    def _digest_and_reset(self, lines: list[bytes]) -> None:
        self.digest.update(b"".join(lines))
        lines.clear()
