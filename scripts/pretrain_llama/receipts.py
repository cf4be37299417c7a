"""Receipts: a ledger of documents. Each step records what went in and what came out, and the next one checks it."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from pretrain_llama import files, stores
from pretrain_llama.errors import DataError
from pretrain_llama.shapes import misfit


@dataclass
class Receipt(ABC):
    """What one step did with a shard's lines; `adds_up` says whether its sums do."""

    @abstractmethod
    def adds_up(self) -> bool:
        """Say whether every line is accounted for."""

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
            found = stores.read_json(path)
            if bad := misfit(found, cls):
                raise TypeError(bad)
            return cls(**found)
        except (DataError, TypeError, ValueError) as error:
            raise DataError(
                f"no receipt of this version: {error}".partition("\n")[0],
                where=path,
                action="delete the shard's files beside it, and run again, which makes them anew",
            ) from error


@dataclass
class MergedRange:
    """The lines that a shard took from a range of a vendor file, planned as `start` to `stop` in bytes.

    Attributes:
        bytes: taken, decompressed.
        newline_added: after them, because the file lacked its last.
        lines: in them; None where they were copied inside a store, and the tokenizer is the first to read them.
    """

    path: str
    start: int
    stop: int | None
    bytes: int = 0
    newline_added: bool = False
    lines: int | None = None


@dataclass
class MergeReceipt(Receipt):
    """The receipt of merging: every line of every range is written. `lines`, `bytes` and `blake3` are of the shard.

    A shard that was joined inside a store is known by its ETag there; it has no `lines` and no `blake3`.
    """

    shard: str
    version: str
    ranges: list[MergedRange] = field(default_factory=list)
    lines: int | None = None
    bytes: int = 0
    blake3: str = ""
    etag: str = ""

    def __post_init__(self) -> None:
        self.ranges = [part if isinstance(part, MergedRange) else MergedRange(**part) for part in self.ranges]

    def adds_up(self) -> bool:
        counted = [part.lines for part in self.ranges if part.lines is not None]
        return self.bytes == sum(part.bytes + part.newline_added for part in self.ranges) and (
            self.lines == (sum(counted) if len(counted) == len(self.ranges) else None)
        )


@dataclass
class TokenizeReceipt(Receipt):
    """Of tokenizing: lines = documents + held out + blank + rejected, by reason, + withdrawn. A document is a sequence.

    `documents`, `sequences`, `tokens` and `text_bytes` are of what is trained on, `held_out_…` of what is held out.

    `jsonl_bytes` and `jsonl_blake3` are of the shard that was read, `bin_blake3` of the .bin that was written. `engine`
    encoded, but for `by_reference` documents, which the reference did; `compared` documents were encoded by both, or a
    part of them, to the same ids. `warning` says why the engine is the reference, if it should not have been.
    `certificate` is the digest of the tokenizer's certificate that said who encodes; receipts of earlier versions have
    none. Nor have they a `frame`, which is what stands around each document (tokenization/frame.py).
    `with_new_pieces` documents, held out ones too, use pieces that an expansion promised not to use in their language
    (unchanged_languages); null where nothing is promised. `withdrawn` lines became nothing, because they were called
    back (withdrawals.jsonl).
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
    by_reference: int = 0
    certificate: str = ""
    warning: str | None = None
    frame: dict[str, Any] | None = None
    with_new_pieces: int | None = None
    lines: int = 0
    documents: int = 0
    sequences: int = 0
    held_out_documents: int = 0
    held_out_tokens: int = 0
    blank: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    withdrawn: int = 0
    text_bytes: int = 0
    tokens: int = 0
    jsonl_bytes: int = 0
    jsonl_blake3: str = ""
    bin_blake3: str = ""

    def adds_up(self) -> bool:
        documents = self.documents + self.held_out_documents
        return self.lines == documents + self.blank + sum(self.rejected.values()) + self.withdrawn

    def follows(self, merged: MergeReceipt) -> bool:
        """Say whether what was read is what was merged: the same bytes, and lines and hash where the merge has them."""
        counted = merged.blake3 == "" or (merged.lines, merged.blake3) == (self.lines, self.jsonl_blake3)
        return counted and merged.bytes == self.jsonl_bytes

    def check_handover(self, merged: MergeReceipt, where: str | Path) -> None:
        """Check that what was merged into the shard is what was read from it.

        Raises:
            DataError: lines were lost, added or changed between the two.
        """
        if not self.follows(merged):
            raise DataError(
                f"{merged.bytes} bytes were merged into {self.shard}, {self.jsonl_bytes} read from it; lines and "
                f"hashes are {merged.lines}, {merged.blake3[:8]} and {self.lines}, {self.jsonl_blake3[:8]}",
                where=where,
                action="delete the shard's jsonl, which was changed or cut short, and run again",
            )
