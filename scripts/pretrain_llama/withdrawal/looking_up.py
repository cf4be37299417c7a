"""Look documents up in merged shards, or in the vendor's files where the merged text was deleted."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama.names import PREFIX_SUFFIX
from pretrain_llama.receipts import MergedRange, MergeReceipt
from pretrain_llama.shards import plan as shards
from pretrain_llama.shards.planned import Plan, PlannedShard, live_shards
from pretrain_llama.shards.sources import blocks_of
from pretrain_llama.tokenization.documents import Rejected, text_of
from pretrain_llama.tokenization.engines import Reference, load_reference
from pretrain_llama.tokenization.held_out import as_hashed
from pretrain_llama.tokenization.keys import keys_of
from pretrain_llama.tokenization.texts import Texts

SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Line:
    """A line of a vendor file, its number from 1, and the shard that has it."""

    shard: str
    file: str
    number: int
    content: bytes


def references(results: Path) -> dict[str, Reference]:
    """Return an engine of each tokenizer that results hold pairs of, by its identity."""
    tokenizers = sorted(
        path.name for path in (results / "tokenized").glob("*") if any(path.glob(f"*{PREFIX_SUFFIX}.*"))
    )
    models = {name: next(iter(sorted((results / "tokenizers" / name).glob("tokenizer.*")))) for name in tokenizers}
    return {name: load_reference(str(model), 1, "", "") for name, model in models.items()}


def lines_of(plan: Plan, results: Path, only: Collection[str] = ()) -> Iterator[Line]:
    """Yield the lines of a corpus's vendor files, those of each file in their order.

    Args:
        plan: of the corpus.
        results: where results lie.
        only: of these vendor files; none for all.

    Raises:
        DataError: a vendor file that has to be read is gone, or another one by now.
    """
    before: Counter[str] = Counter()
    for shard, planned in live_shards(plan).items():
        jsonl, receipt = results / "shards" / f"{shard}.jsonl", results / "shards" / f"{shard}.receipt.json"
        is_there = jsonl.exists() and receipt.exists()
        parts = _of_merged(jsonl, MergeReceipt.read(receipt)) if is_there else _of_vendor(plan, planned)
        for path, lines in parts:
            if only and path not in only:
                continue
            for line in lines:
                before[path] += 1
                yield Line(shard, path, before[path], line)


def _of_merged(jsonl: Path, receipt: MergeReceipt) -> Iterator[tuple[str, Iterator[bytes]]]:
    start = 0
    for part in receipt.ranges:
        stop = start + part.bytes + part.newline_added
        yield part.path, _between(jsonl, start, stop)
        start = stop


def _between(path: Path, start: int, stop: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        file.seek(start)
        while start < stop:
            line = file.readline()
            start += len(line)
            yield line.removesuffix(b"\n")


def _of_vendor(plan: Plan, planned: PlannedShard) -> Iterator[tuple[str, Iterator[bytes]]]:
    for part in planned["ranges"]:
        merged = MergedRange(**part)
        blocks = blocks_of(text_key=plan["text_key"], etag=shards.etag(plan, merged.path), **part)
        yield merged.path, _lines(blocks)


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
    if rest:
        yield rest


def found(
    line: Line, text_key: str, engines: Mapping[str, Reference], matches: Callable[[Line, dict[str, str]], bool]
) -> dict[str, Any] | None:
    """Return a document that matches, as find_documents.py prints it; None for other lines, and for no documents.

    Args:
        line: of a vendor file.
        text_key: key of its text.
        engines: by tokenizer.
        matches: given the line, and the key of its document by tokenizer.
    """
    try:
        text = text_of(line.content.rstrip(b"\r"), text_key)
    except Rejected:
        return None
    normalized = ((name, as_hashed(Texts.of([text]), engine.normalize)) for name, engine in engines.items())
    keys = {name: keys_of(hashed).tobytes().hex() for name, hashed in normalized}
    if not matches(line, keys):
        return None
    beginning = text.decode()[:SHOWN_CHARACTERS]
    return {"shard": line.shard, "file": line.file, "line": line.number, "keys": keys, "beginning": beginning}
