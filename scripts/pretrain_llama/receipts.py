"""Receipts: the ledger of the documents. Every hop says what went in and what came out, and the next one checks."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from pretrain_llama import files
from pretrain_llama.errors import DataError


class Receipt:
    """What one hop did with the lines of one shard; `adds_up` says whether its sums do."""

    def adds_up(self) -> bool:
        """Say whether every line read is accounted for."""
        raise NotImplementedError

    def write(self, path: str | Path) -> None:
        """Write the receipt as JSON; one that does not add up is a defect of ours, and is never written."""
        assert self.adds_up(), self
        files.write_json(path, asdict(self))

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Return the receipt that a JSON file holds."""
        return cls(**files.read_json(path))


@dataclass
class MergeReceipt(Receipt):
    """Of merging: lines_read = lines_written + blank; `bytes` and `sha256` are of the shard."""

    shard: str
    lines_read: int = 0
    lines_written: int = 0
    blank: int = 0
    bytes: int = 0
    sha256: str = ""

    def adds_up(self) -> bool:
        return self.lines_read == self.lines_written + self.blank


@dataclass
class TokenizeReceipt(Receipt):
    """Of tokenizing: lines_read = documents + what was rejected, by reason. One document is one sequence."""

    shard: str
    tokenizer: str
    prepend_bos: bool
    append_eos: bool
    vocab_size: int
    dtype: str
    lines_read: int = 0
    documents: int = 0
    sequences: int = 0
    tokens: int = 0
    text_bytes: int = 0
    rejected: dict[str, int] = field(default_factory=dict)

    def adds_up(self) -> bool:
        return self.lines_read == self.documents + sum(self.rejected.values())

    def check_handover(self, merged: MergeReceipt, place: str | Path) -> None:
        """Check that every line that was merged into the shard was read from it.

        Raises:
            DataError: lines were lost or added between the two.
        """
        if merged.lines_written != self.lines_read:
            raise DataError(
                f"{merged.lines_written} lines were merged into {self.shard}, {self.lines_read} read from it",
                where=place,
                action="delete the shard's jsonl, which was changed or cut short, and run again",
            )
