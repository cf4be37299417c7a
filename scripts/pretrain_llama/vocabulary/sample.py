"""Sample a shard's texts, in blocks that are spread evenly over it."""

from collections.abc import Iterator
from pathlib import Path

from pretrain_llama.errors import DataError
from pretrain_llama.tokenization.lines import sort_lines

BLOCKS = 64
MEASURED_EVERY = 10  # texts: one of these is measured, the others are trained on


def sample_texts(shard: Path, text_key: str, size_bytes: int, max_line_bytes: int) -> list[str]:
    """Return texts of a jsonl shard, of `size_bytes` or so; lines that are no documents are passed over.

    Raises:
        DataError: all lines are such, and none for a text of white space alone.
    """
    texts, rejected = [], []
    for block in _blocks(shard, size_bytes):
        batch = sort_lines(memoryview(block), text_key, max_line_bytes)
        texts += [batch.texts[number].decode() for number in range(len(batch.texts))]
        rejected += [line.reason for line in batch.rejected] if not texts else []
    if rejected and not texts and "empty" not in rejected:
        raise DataError(
            f"none of the {len(rejected):,} lines looked at has a text: {', '.join(sorted(set(rejected)))}",
            where=shard,
            action=f"give the key of its texts; {text_key!r} was taken",
        )
    return texts


def _blocks(shard: Path, size_bytes: int) -> Iterator[bytes]:
    size = shard.stat().st_size
    parts = BLOCKS if size > size_bytes else 1
    with open(shard, "rb") as file:
        for part in range(parts):
            file.seek(max(0, part * size // parts - 1))
            if part:
                file.readline()  # the rest of a line that began before
            stop = min(file.tell() + size_bytes // parts, (part + 1) * size // parts) if parts > 1 else size
            block = file.read(max(0, stop - file.tell()))
            block += b"" if block.endswith(b"\n") or not block else file.readline()
            if block:
                yield block if block.endswith(b"\n") else block + b"\n"


def divide(texts: list[str]) -> tuple[list[str], list[str]]:
    """Return the texts to train on, and those to measure on."""
    return [t for number, t in enumerate(texts) if number % MEASURED_EVERY], texts[::MEASURED_EVERY]
