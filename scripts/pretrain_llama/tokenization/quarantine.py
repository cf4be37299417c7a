"""Keep a shard's rejected lines whole beside it, count them by reason, and limit how many there may be.

A line of {prefix}.rejected.jsonl:

    {"file": vendor file, "start": byte, "line": number, "reason": code, "text": the whole line}

`line` counts from 1 the lines of the vendor file that begin at byte `start` or after it; where start is 0, which it is
unless a large file was cut into several shards, it is the line's number in the file. Bytes that are not UTF-8 stand in
`text` as lone surrogates (PEP 383): json.loads(…)["text"].encode("utf-8", "surrogateescape") gives the line back.
"""

import codecs
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

from pretrain_llama.errors import DataError
from pretrain_llama.receipts import MergedRange

FIRST_SHOWN = 5
BYTES_A_LINE = 1 << 16  # that a rejected line may have, where their number is allowed
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class RejectionLimits:
    """How much of a shard may be rejected: a fraction, 0 to 1, of its lines, or a number, whichever is more.

    Of its bytes, the same fraction, or 64 KiB for each line of that number: a line may be a whole file.
    """

    fraction: float
    lines: int


class Quarantine:
    """Write rejected lines of a shard to an open file.

    Attributes:
        reasons: rejected lines by reason.
        bytes: of the rejected lines, without their newlines.
    """

    def __init__(self, file: IO[str], shard: str) -> None:
        self.reasons: Counter[str] = Counter()
        self.bytes = 0
        self._file, self._shard = file, shard
        self._first: list[str] = []
        self._first_file = ""

    def reject(self, source: MergedRange, source_line: int, reason: str, pieces: Iterable[bytes]) -> None:
        """Keep a line.

        Args:
            source: the range of a vendor file that it came from.
            source_line: its number there, from 1.
            reason: a code of `documents.Rejected`.
            pieces: its bytes, one piece in memory at a time.
        """
        entry = {"file": source.path, "start": source.start, "line": source_line, "reason": reason}
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._file.write(json.dumps(entry)[:-1] + ', "text": "')
        shown = ""
        for piece in pieces:
            self.bytes += len(piece)
            text = decoder.decode(piece)
            shown = shown or text[:SHOWN_CHARACTERS]
            self._file.write(json.dumps(text)[1:-1])
        self._file.write(json.dumps(decoder.decode(b"", final=True))[1:-1] + '"}\n')
        self.reasons[reason] += 1
        self._first_file = self._first_file or source.path
        if len(self._first) < FIRST_SHOWN:
            after = f" (counted from byte {source.start:,})" if source.start else ""
            self._first.append(f"{source.path}, line {source_line}{after}: {reason}: {json.dumps(shown.strip())}")

    def check(self, limits: RejectionLimits, documents: int, lines: int, size: int) -> None:
        """Check what is rejected; documents, lines, size in bytes: of the whole shard.

        Raises:
            DataError: it is more than allowed, or all there is.
        """
        rejected = self.reasons.total()
        too_many = rejected > max(limits.lines, limits.fraction * lines)
        if too_many or self.bytes > max(limits.lines * BYTES_A_LINE, limits.fraction * size):
            why = f"max_rejected_fraction {limits.fraction} and max_rejected_lines {limits.lines} allow fewer"
        elif rejected and not documents:
            why = "no document is left"
        else:
            return
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.reasons.items()))
        raise DataError(
            f"{rejected} of {lines} lines of {self._shard} are rejected: {counts}; {self.bytes:,} of {size:,} bytes; "
            f"{why}. The first:\n    " + "\n    ".join(self._first),
            where=self._first_file,
            action="look at the lines there; correct text_key in config/corpora.tsv, have the vendor's file mended, "
            "or raise the limits in config/config.yaml",
        )
