"""An expansion's promise that some languages use no new piece, and how far it is kept.

New pieces are chosen by a sample. Whether other texts use them is counted when these are tokenized, in the receipts.
"""

from argparse import ArgumentTypeError
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pretrain_llama.names import parse_shard
from pretrain_llama.receipts import TokenizeReceipt


@dataclass(frozen=True)
class Promise:
    """That no document of some languages has an id of `first_new_id` or above; `tokenizer` is the expansion's identity.

    `str()` gives it as `read_promise` takes it: toy-ar.0a1b2c3d:400:en,fr.
    """

    tokenizer: str
    first_new_id: int
    languages: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.tokenizer}:{self.first_new_id}:{','.join(self.languages)}"


def read_promise(text: str) -> Promise:
    """Return a promise that a program is given."""
    try:
        tokenizer, first, languages = text.split(":")
        return Promise(tokenizer, int(first), tuple(languages.split(",")))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not TOKENIZER:FIRST_NEW_ID:LANGUAGE,…") from None


def first_new_id(promises: Iterable[Promise], tokenizer: str, shard: str) -> int | None:
    """Return the first id that a shard's documents must not have; None where nothing is promised of them."""
    language = parse_shard(shard).language
    firsts = [one.first_new_id for one in promises if one.tokenizer == tokenizer and language in one.languages]
    return firsts[0] if firsts else None


@dataclass
class Kept:
    """How far a promise to a language is kept: its documents, held-out ones too, and those with new pieces."""

    documents: int = 0
    with_new_pieces: int = 0

    @classmethod
    def of(cls, receipt: TokenizeReceipt) -> "Kept":
        """Return how far a shard keeps it."""
        kept = cls()
        kept.add(receipt)
        return kept

    def add(self, receipt: TokenizeReceipt) -> None:
        """Count a shard; one that an earlier version tokenized has no count, and is left out."""
        if receipt.with_new_pieces is not None:
            self.documents += receipt.documents + receipt.held_out_documents
            self.with_new_pieces += receipt.with_new_pieces

    @property
    def told(self) -> str:
        """How far it is kept, in words."""
        return f"{self.with_new_pieces:,} of {self.documents:,} documents use new pieces"


def kept(receipts: Iterable[TokenizeReceipt]) -> Mapping[str, Kept]:
    """Return by language how far the shards of a tokenizer keep its promises; empty if it makes none."""
    found: dict[str, Kept] = {}
    for receipt in receipts:
        if receipt.with_new_pieces is not None:
            found.setdefault(parse_shard(receipt.shard).language, Kept()).add(receipt)
    return found
