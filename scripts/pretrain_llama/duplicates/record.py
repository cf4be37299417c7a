"""What was found and decided about copies, in files.

`duplicates.json` of a tokenizer is the result of a comparison, which is made again with every delivery:

    duplicates    count or drop, as configured
    shards        by shard: documents, copies among them, tokens of these, and of: how many copies by the pair that has
                  the first of each, a shard, or "{shard} held out"
    without_keys  shards that were not compared; none where copies are dropped
    largest       texts with most copies: how many, where the first of them are, and how the text begins

Under drop, what is decided stays. `dropped.json` has the same of each shard, in the order in which they were decided,
and {shard}_text_document.dropped the numbers of its copies, from 0, ascending: 4 bytes each, little endian.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from pretrain_llama import stores
from pretrain_llama.errors import DataError
from pretrain_llama.files import json_text
from pretrain_llama.names import PREFIX_SUFFIX, Counts

DROPPED_SUFFIX = ".dropped"
DECIDED = "dropped.json"
NUMBER = np.dtype("<u4")
HELD_OUT = " held out"


@dataclass(frozen=True)
class Copies:
    """The copies in a shard: of how many documents, how many tokens they have, and how many are of which pair."""

    documents: int
    tokens: int = 0
    of: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of copies."""
        return sum(self.of.values())

    @property
    def counts(self) -> Counts:
        """The same as of a pair: a document is a sequence."""
        return Counts(self.count, self.count, self.tokens)


@dataclass(frozen=True)
class Duplicates:
    """A duplicates.json, read; see above."""

    duplicates: str
    shards: dict[str, Copies]
    without_keys: list[str] = field(default_factory=list)
    largest: list[dict[str, Any]] = field(default_factory=list)

    @property
    def dropped(self) -> dict[str, Copies]:
        """By shard, what is dropped of it; nothing where copies are only counted."""
        return {shard: one for shard, one in self.shards.items() if one.count} if self.duplicates == "drop" else {}

    @property
    def left_out(self) -> dict[str, Counts]:
        """The same as counts."""
        return {shard: one.counts for shard, one in self.dropped.items()}

    def to_json(self) -> dict[str, Any]:
        """Return what duplicates.json holds."""
        return asdict(self)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Return what a duplicates.json holds.

        Raises:
            DataError: there is none, or another version wrote it.
        """
        try:
            found = stores.read_json(path)
            return cls(**found | {"shards": {shard: Copies(**one) for shard, one in found["shards"].items()}})
        except (DataError, TypeError, LookupError) as error:
            raise DataError(
                f"no duplicates.json of this version: {error}".partition("\n")[0],
                where=path,
                action="delete it, and run again, which makes it anew",
            ) from error


def read_decided(tokenized: str | Path) -> dict[str, Copies]:
    """Return what was decided of shards, in that order; nothing where nothing was."""
    found = stores.find_json(f"{tokenized}/{DECIDED}") or {}
    return {shard: Copies(**one) for shard, one in found.items()}


def write_decided(tokenized: str | Path, decided: Mapping[str, Copies]) -> None:
    """Record what is decided, whole or not at all."""
    content = {shard: asdict(one) for shard, one in decided.items()}
    stores.write_small(f"{tokenized}/{DECIDED}", json_text(content).encode())


def still_decided(decided: Mapping[str, Copies], documents: Mapping[str, int]) -> dict[str, Copies]:
    """Return the shards whose decision holds: with as many documents as then, and the firsts of all copies there.

    Where a shard with the first of a copy is no more, that copy would be lost: the shard that has it is decided anew.

    Args:
        decided: of shards, in their order.
        documents: by shard, of those that there are now.
    """
    return {
        shard: one
        for shard, one in decided.items()
        if documents.get(shard) == one.documents and all(of.removesuffix(HELD_OUT) in documents for of in one.of)
    }


def read_dropped(prefix: str | Path) -> np.ndarray:
    """Return the numbers of a pair's dropped documents, ascending int64; none where there is no such file."""
    content = stores.read_small(f"{prefix}{DROPPED_SUFFIX}") or b""
    if len(content) % NUMBER.itemsize:
        raise DataError(
            f"{len(content)} bytes are no numbers of documents",
            where=f"{prefix}{DROPPED_SUFFIX}",
            action="delete the file and duplicates.json, and run again, which decides anew",
        )
    return np.frombuffer(content, NUMBER).astype(np.int64)


def write_dropped(prefix: str | Path, numbers: np.ndarray) -> None:
    """Record the numbers of a pair's dropped documents, ascending, whole or not at all."""
    stores.write_small(f"{prefix}{DROPPED_SUFFIX}", numbers.astype(NUMBER).tobytes())


def between_corpora(shards: Mapping[str, Copies]) -> Counter[tuple[str, str]]:
    """Return how many copies there are, by the corpus that has the first and the one that has the copy."""
    found: Counter[tuple[str, str]] = Counter()
    for shard, one in shards.items():
        for of, count in one.of.items():
            first = of.removesuffix(HELD_OUT)
            found[_corpus(first) + of[len(first) :], _corpus(shard)] += count
    return found


def _corpus(shard: str) -> str:
    return shard.rpartition("_split_")[0]


def pair_location(tokenized: str | Path, shard: str) -> str:
    """Return the prefix of a shard's pair."""
    return f"{tokenized}/{shard}{PREFIX_SUFFIX}"
