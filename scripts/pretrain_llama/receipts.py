"""Receipts: the ledger of the documents. Every hop says what went in and what came out, and the next one checks."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from pretrain_llama import files
from pretrain_llama.errors import DataError


class Receipt:
    """What one hop did with the lines of one shard; `adds_up` says whether its sums do."""

    def adds_up(self) -> bool:
        """Say whether every line is accounted for."""
        raise NotImplementedError

    def write(self, path: str | Path) -> None:
        """Write the receipt as JSON; one that does not add up is a defect of ours, and is never written."""
        assert self.adds_up(), self
        files.write_json(path, asdict(self))

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Return the receipt that a JSON file holds.

        Raises:
            DataError: there is none, or another version of the programs wrote it.
        """
        try:
            return cls(**files.read_json(path))
        except (FileNotFoundError, TypeError, ValueError) as error:
            raise DataError(
                f"no receipt of this version: {error}",
                where=path,
                action="delete the shard's files beside it, and run again, which makes them anew",
            ) from error


@dataclass
class MergedRange:
    """What a shard took from a range of a vendor file, `start` to `stop` in bytes; bytes decompressed, lines all."""

    path: str
    start: int
    stop: int | None
    bytes: int = 0
    lines: int = 0


@dataclass
class MergeReceipt(Receipt):
    """Of merging: every line of every range is written. `bytes` and `blake3` are of the shard."""

    shard: str
    version: str
    ranges: list[MergedRange] = field(default_factory=list)
    newlines_added: int = 0
    lines: int = 0
    bytes: int = 0
    blake3: str = ""

    def __post_init__(self) -> None:
        self.ranges = [part if isinstance(part, MergedRange) else MergedRange(**part) for part in self.ranges]

    def adds_up(self) -> bool:
        return (
            self.lines == sum(part.lines for part in self.ranges)
            and self.bytes == sum(part.bytes for part in self.ranges) + self.newlines_added
        )

    def source_of(self, line: int) -> tuple[MergedRange, int]:
        """Return the range that a line of the shard came from, and the line's number there; both count from 1."""
        for part in self.ranges:
            if line <= part.lines:
                return part, line
            line -= part.lines
        raise IndexError(line)


@dataclass
class TokenizeReceipt(Receipt):
    """Of tokenizing: lines = documents + blank + what was rejected, by reason. One document is one sequence.

    `jsonl_blake3` is of the shard that was read, `bin_blake3` of the .bin that was written. `engine` encoded;
    `compared` documents were also encoded by the reference, with the same ids; `warning` says why the engine is the
    reference, if it should not have been.
    """

    shard: str
    version: str
    tokenizer: str
    prepend_bos: bool
    append_eos: bool
    vocab_size: int
    dtype: str
    engine: str = ""
    compared: int = 0
    warning: str | None = None
    lines: int = 0
    documents: int = 0
    sequences: int = 0
    blank: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    text_bytes: int = 0
    tokens: int = 0
    jsonl_blake3: str = ""
    bin_blake3: str = ""

    def adds_up(self) -> bool:
        return self.lines == self.documents + self.blank + sum(self.rejected.values())

    def check_handover(self, merged: MergeReceipt, place: str | Path) -> None:
        """Check that what was merged into the shard is what was read from it.

        Raises:
            DataError: lines were lost, added or changed between the two.
        """
        if (merged.lines, merged.blake3) != (self.lines, self.jsonl_blake3):
            raise DataError(
                f"{merged.lines} lines were merged into {self.shard}, {self.lines} read from it; their hashes "
                f"are {merged.blake3[:8]} and {self.jsonl_blake3[:8]}",
                where=place,
                action="delete the shard's jsonl, which was changed or cut short, and run again",
            )
