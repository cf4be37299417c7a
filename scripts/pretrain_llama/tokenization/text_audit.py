"""Check a .bin/.idx pair against its source text, encoded again by the reference."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pretrain_llama.errors import DataError
from pretrain_llama.names import HELD_OUT_SUFFIX
from pretrain_llama.progress import Progress
from pretrain_llama.tokenization.engines import Reference
from pretrain_llama.tokenization.frame import Frame
from pretrain_llama.tokenization.held_out import are_held_out
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.tokenization.lines import ShardReader, sort_lines
from pretrain_llama.tokenization.texts import Texts


@dataclass(frozen=True)
class Made:
    """How a pair was made from a merged shard: what tokenize_shard.py was told."""

    jsonl: Path
    text_key: str
    max_line_bytes: int
    held_out_fraction: float


@dataclass
class TextAudit:
    """How many documents were compared, and the texts of those with other ids, by number from 0."""

    compared: int = 0
    wrong: dict[int, str] = field(default_factory=dict)


def audit_text(prefix: Path, made: Made, reference: Reference, frame: Frame, documents: int | None) -> TextAudit:
    """Compare documents of a pair with their texts; a pair of held-out documents is known by its name.

    Args:
        prefix: path of the pair.
        made: what it was made from.
        reference: engine of its tokenizer.
        frame: around each document.
        documents: number of random ones, the same ones every time; None for all.

    Raises:
        DataError: the pair cannot be read, or the shard does not have as many documents.
    """
    pair = IndexedReader(prefix)
    chosen = np.arange(pair.documents)
    if documents is not None and documents < pair.documents:
        chosen = np.array(sorted(random.Random(0).sample(range(pair.documents), documents)))
    found = TextAudit()
    first = 0
    for texts in _documents(made, reference, prefix.name.endswith(HELD_OUT_SUFFIX)):
        numbers = chosen[(chosen >= first) & (chosen < first + len(texts))]
        looked_at = Texts.of(texts[number - first] for number in numbers)
        ids, lengths = frame.around(reference.encode(looked_at))
        for number, expected in zip(numbers.tolist(), np.split(ids, np.cumsum(lengths)[:-1]), strict=False):
            start = int(pair.offsets[number]) // pair.dtype.itemsize
            if not np.array_equal(pair.tokens_array[start : start + int(pair.lengths[number])], expected):
                found.wrong[number] = texts[number - first].decode()
        found.compared += len(numbers)
        first += len(texts)
    if first != pair.documents:
        raise DataError(
            f"the shard has {first:,} documents, the pair {pair.documents:,}",
            where=made.jsonl,
            action="give the shard that the pair was made from, with its corpus's text key, and the longest line and "
            "the fraction of held-out documents of config.yaml",
        )
    return found


def _documents(made: Made, reference: Reference, of_held_out: bool) -> Iterator[Texts]:
    """Yield the texts of the documents to train on, or of those held out, block by block."""
    size = made.jsonl.stat().st_size
    with open(made.jsonl, "rb") as file, Progress(size, "B", f"compare {made.jsonl.name}") as progress:
        for block in ShardReader(file, made.max_line_bytes).blocks():
            if not isinstance(block, memoryview):  # a line that is too long
                progress.advance(sum(map(len, block)))
                continue
            texts = sort_lines(block, made.text_key, made.max_line_bytes).texts
            held_out = are_held_out(texts, made.held_out_fraction, reference.normalize)
            yield texts.chosen(held_out if of_held_out else ~held_out)
            progress.advance(len(block))
