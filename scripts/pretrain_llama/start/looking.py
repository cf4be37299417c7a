"""Look at a vendor file: which key holds its texts, and a few of them; or why no text can be taken from it."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from pretrain_llama import stores
from pretrain_llama.errors import PretrainError, listed
from pretrain_llama.shards import parquet_rows
from pretrain_llama.shards.sources import FORMATS, blocks_of, first_bytes, is_parquet, text_size

# What text is mostly called. Another key is taken where it holds ten times as much.
USUAL_KEYS = ("text", "content", "raw_content", "body", "document")
DOCUMENTS = 100  # looked at of a file
LONGEST_LINE = 1 << 24


@dataclass(frozen=True)
class Found:
    """A vendor file that holds documents; `about` says how many bytes of jsonl; `texts` are some of its first ones."""

    path: Path
    text_key: str
    about: int
    texts: list[str]


class LeftOut(Exception):
    """A file that no text can be taken from; `str()` says why."""


def look_at(path: Path) -> Found:
    """Return what a file holds.

    Raises:
        LeftOut: it is no vendor file, or its texts cannot be found.
    """
    if FORMATS.fullmatch(str(path)) is None:
        raise LeftOut("of a format that is not read")
    file = stores.source_file(path)
    if not file.size_bytes:
        raise LeftOut("empty")
    try:
        if is_parquet(file.path):
            columns = parquet_rows.columns_of_text(file.path)
            rows = {column: _parsed(_first_rows(file.path, column)) for column in dict.fromkeys(columns)}
            key = _largest(Counter({column: _held(rows[column], column) for column in rows}), "no column of strings")
            documents = rows[key]
        else:
            documents = _parsed(_first_lines(file))
            key = _text_key(documents)
        texts = [text for document in documents if isinstance(text := _flat(document).get(key), str) and text.strip()]
        return Found(path, key, text_size(file, key).about, texts)
    except PretrainError as error:
        raise LeftOut(error.problem) from None


def _first_lines(file: stores.SourceFile) -> list[bytes]:
    """Return the whole lines at the beginning of a file's text; of a longer one that line alone."""
    text = first_bytes(file)
    if b"\n" in text:
        return text.split(b"\n")[:-1][:DOCUMENTS]
    line = next(_lines(blocks_of(file.path, 0, None, "")), b"")
    return [line]


def _first_rows(path: str, column: str) -> Iterator[bytes]:
    return itertools.islice(_lines(blocks_of(path, 0, None, column)), DOCUMENTS)


def _held(documents: list[dict[str, Any]], key: str) -> int:
    """Return how many characters the texts under a key have."""
    return sum(len(value) for document in documents if isinstance(value := _flat(document).get(key), str))


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) > LONGEST_LINE:
            raise LeftOut(f"a line of more than {LONGEST_LINE:,} bytes")
    if rest:
        yield rest


def _parsed(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """Return the objects among some lines.

    Raises:
        LeftOut: there is none.
    """
    documents = []
    first = b""
    for line in lines:
        first = first or line.strip()
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(document, dict):
            documents.append(document)
    if documents:
        return documents
    if first.startswith(b"["):
        raise LeftOut("one JSON array, and no document a line: jq -c '.[]' makes one of it")
    raise LeftOut("no line at its beginning is a JSON object" if first else "blank")


def _flat(document: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return the values of a document by key, those of nested objects by keys that dots join."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


def _text_key(documents: list[dict[str, Any]]) -> str:
    flat = map(_flat, documents)
    having = Counter(key for one in flat for key, value in one.items() if isinstance(value, str))
    sizes = Counter({key: _held(documents, key) for key, count in having.items() if 2 * count >= len(documents)})
    return _largest(sizes, f"no key holds a text in half of its documents; keys: {listed(list(_flat(documents[0])))}")


def _largest(sizes: Counter[str], problem: str) -> str:
    """Return the key of the texts, given how much each key holds; LeftOut with the problem where none holds any."""
    if not sizes or not (most := max(sizes.values())):
        raise LeftOut(problem)
    usual = (key for name in USUAL_KEYS for key in sizes if key.rpartition(".")[2].lower() == name)
    return next((key for key in usual if 10 * sizes[key] >= most), max(sizes, key=lambda key: sizes[key]))
