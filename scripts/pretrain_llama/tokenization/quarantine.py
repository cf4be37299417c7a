"""Keep a shard's rejected lines beside it, count them by reason, and limit how many there may be.

A line of {prefix}.rejected.jsonl:

    {"file": vendor file, "start": byte, "line": number, "reason": code, "text": the whole line}

`line` counts from 1 the lines of the vendor file that begin at byte `start` or after it; where start is 0, which it is
unless a large file was cut into several shards, it is the line's number in the file. Bytes that are not UTF-8 stand in
`text` as lone surrogates (PEP 383): json.loads(…)["text"].encode("utf-8", "surrogateescape") gives the line back.

The file has at most max_rejected_bytes, and at most twice the bytes of the shard, or 1 MiB where that is more: each NUL
is six bytes of JSON. A line that would pass that is cut, with `"cut": true` after its text; those after it
are counted, and not kept.
"""

import codecs
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, NoReturn

from pretrain_llama.errors import DataError
from pretrain_llama.receipts import MergedRange

FIRST_SHOWN = 5
KEPT_BYTES = 1 << 20  # of rejected lines, that are kept of a shard of any size
TIMES_READ = 2
BYTES_A_LINE = 1 << 16  # that a rejected line may have, where their number is allowed
SHOWN_CHARACTERS = 80
END, CUT = '"}\n', '", "cut": true}\n'


@dataclass(frozen=True)
class RejectionLimits:
    """How much of a shard may be rejected: a fraction, 0 to 1, of its lines, or a number, whichever is more.

    Of its bytes, the same fraction, or 64 KiB for each line of that number: a line may be a whole file. `kept_bytes` of
    the rejected lines are written at most.
    """

    fraction: float
    lines: int
    kept_bytes: int = 1 << 26


class LimitsPassed(DataError):
    """More is rejected than allowed before all of the shard is read."""


class Quarantine:
    """Write rejected lines of a shard to an open file.

    Attributes:
        reasons: rejected lines by reason.
        bytes: of the rejected lines, without their newlines.
    """

    def __init__(self, file: IO[str], shard: str, limits: RejectionLimits, size: int, lines: int | None) -> None:
        """file: to write to; size: of the shard in bytes; lines: that it has, None where only its end tells."""
        self._limits, self._size, self._all_lines = limits, size, lines
        self._left = min(limits.kept_bytes, max(KEPT_BYTES, TIMES_READ * size))
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

        Raises:
            LimitsPassed: the limits are passed, whatever is still to come.
        """
        self.reasons[reason] += 1
        self._first_file = self._first_file or source.path
        entry = {"file": source.path, "start": source.start, "line": source_line, "reason": reason}
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        begin = json.dumps(entry)[:-1] + ', "text": "'
        is_kept = self._left > len(begin) + len(CUT)
        self._keep(begin if is_kept else "")
        shown, is_cut = "", False
        for piece in pieces:
            self.bytes += len(piece)
            text = decoder.decode(piece)
            shown = shown or text[:SHOWN_CHARACTERS]
            if is_kept and not is_cut:
                is_cut = not self._keep_text(text)
            if self._are_too_large():  # the line may be a whole file
                break
        rest = decoder.decode(b"", final=True)
        is_cut = is_cut or (is_kept and not self._keep_text(rest))
        if is_kept:
            self._keep(CUT if is_cut else END)
            self._left = 0 if is_cut else self._left
        if len(self._first) < FIRST_SHOWN:
            after = f" (counted from byte {source.start:,})" if source.start else ""
            self._first.append(f"{source.path}, line {source_line}{after}: {reason}: {json.dumps(shown.strip())}")
        if self._are_too_large() or self._are_too_many():
            so_far = "lines" if self._all_lines is None else f"of {self._all_lines} lines"
            self._fail(f"so far {self.reasons.total()} {so_far}", self._allowed(), LimitsPassed)

    def _keep(self, text: str) -> None:
        self._file.write(text)
        self._left -= len(text)

    def _keep_text(self, text: str) -> bool:
        """Write a text as JSON, as far as there is room; say whether there was for all of it."""
        written = json.dumps(text)[1:-1]
        if len(written) + len(CUT) <= self._left:
            self._keep(written)
            return True
        room = max(self._left - len(CUT), 0)
        most = bisect_right(range(len(text) + 1), room, key=lambda length: len(json.dumps(text[:length])) - 2) - 1
        self._keep(json.dumps(text[:most])[1:-1] if most > 0 else "")
        return False

    def _are_too_large(self) -> bool:
        return self.bytes > max(self._limits.lines * BYTES_A_LINE, self._limits.fraction * self._size)

    def _are_too_many(self) -> bool:
        """Say whether more lines are rejected than may be, if all others of the shard are documents."""
        most = self._size if self._all_lines is None else self._all_lines
        return self.reasons.total() > max(self._limits.lines, self._limits.fraction * most)

    def _allowed(self) -> str:
        return f"max_rejected_fraction {self._limits.fraction} and max_rejected_lines {self._limits.lines} allow fewer"

    def check(self, documents: int, lines: int) -> None:
        """Check what is rejected of a shard with so many documents and lines.

        Raises:
            DataError: it is more than allowed, or all there is.
        """
        rejected = self.reasons.total()
        if rejected > max(self._limits.lines, self._limits.fraction * lines) or self._are_too_large():
            why = self._allowed()
        elif rejected and not documents:
            why = "no document is left"
        else:
            return
        self._fail(f"{rejected} of {lines} lines", why)

    def _fail(self, counted: str, why: str, kind: type[DataError] = DataError) -> NoReturn:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.reasons.items()))
        first = "".join(f"\n    {line}" for line in self._first)
        raise kind(
            f"{counted} of {self._shard} are rejected: {counts}; {self.bytes:,} of {self._size:,} bytes; "
            f"{why}. The first:{first}",
            where=self._first_file,
            action="look at the lines there; correct text_key in config/corpora.tsv, have the vendor's file mended, "
            "or raise the limits in config/config.yaml",
        )
