"""Measure fertility, tokens a word and a byte, and whether texts encode as before."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sentencepiece import SentencePieceProcessor

from pretrain_llama.vocabulary.pieces import THREADS


@dataclass
class Fertility:
    """Counts of what an old and a new encoder make of some texts.

    Attributes:
        texts, bytes, words: of the texts; words are what white space parts.
        tokens_before, tokens_after: of both encoders.
        unchanged: texts that encode to the same ids.
        without_new_pieces: texts that the new encoder encodes to old ids alone.
        changed_without_new_pieces: those of them whose ids are others.
    """

    texts: int = 0
    bytes: int = 0
    words: int = 0
    tokens_before: int = 0
    tokens_after: int = 0
    unchanged: int = 0
    without_new_pieces: int = 0
    changed_without_new_pieces: int = 0

    def __add__(self, other: "Fertility") -> "Fertility":
        ours, theirs = asdict(self), asdict(other)
        return Fertility(**{key: ours[key] + theirs[key] for key in ours})

    def described(self) -> dict[str, Any]:
        """Return the counts, and tokens a word and a byte."""
        described: dict[str, Any] = asdict(self)
        for unit, count in [("word", self.words), ("byte", self.bytes)]:
            for moment, tokens in [("before", self.tokens_before), ("after", self.tokens_after)]:
                described[f"tokens_per_{unit}_{moment}"] = round(tokens / count, 4) if count else None
        return described


def measure(texts: Sequence[str], before: SentencePieceProcessor, after: SentencePieceProcessor) -> Fertility:
    """Count what two encoders make of texts; the second has the ids of the first, and new ones above."""
    old_ids = before.encode(list(texts), num_threads=THREADS)
    new_ids = after.encode(list(texts), num_threads=THREADS)
    counted = Fertility(
        texts=len(texts),
        bytes=sum(len(text.encode()) for text in texts),
        words=sum(len(text.split()) for text in texts),
        tokens_before=sum(map(len, old_ids)),
        tokens_after=sum(map(len, new_ids)),
    )
    for old, new in zip(old_ids, new_ids, strict=True):
        is_old = max(new, default=0) < before.vocab_size()
        counted.unchanged += old == new
        counted.without_new_pieces += is_old
        counted.changed_without_new_pieces += is_old and old != new
    return counted
