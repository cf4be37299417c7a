"""Each file that a person writes or may edit, broken in 100 to 220 ways: a message with its place, no traceback."""

import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from odd_files import byte_variants, json_variants
from pretrain_llama import configuration
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import PretrainError
from pretrain_llama.mixture import choices, signature
from pretrain_llama.receipts import MergeReceipt, TokenizeReceipt
from pretrain_llama.shards import listing, plan
from project import ROOT

MOST, MOST_YAML = 220, 120  # variants of a file; PyYAML is slow
CORPUS = Corpus("en", "books", "tales", "vendor/*", "text", "corpora.tsv:2")
PLAN = {
    "corpus": CORPUS.name,
    "text_key": "text",
    "files": {"vendor/a.jsonl": {"size_bytes": 10, "mtime_ns": 1, "fingerprint": "0" * 64}},
    "shards": [{"bytes": 10, "ranges": [{"path": "vendor/a.jsonl", "start": 0, "stop": 10}]}],
}
MERGED = {
    "shard": "en_books_tales_split_0000",
    "version": "0.3.0",
    "ranges": [{"path": "vendor/a.jsonl", "start": 0, "stop": 10, "bytes": 10, "newline_added": False, "lines": 1}],
    "lines": 1,
    "bytes": 10,
    "blake3": "0" * 64,
}
TOKENIZED = {
    "shard": "en_books_tales_split_0000",
    "version": "0.3.0",
    "tokenizer": "toy.01234567",
    "prepend_bos": True,
    "append_eos": True,
    "vocab_size": 400,
    "dtype": "uint16",
    "rejected": {"bad_json": 1},
    "frame": {"bos": {"id": 1, "token": "<s>"}, "eos": None},
}
SIGNED = ["toy.01234567/en_books_tales_split_0000_text_document_dc=1_sc=1_tc=5.bin"]
LISTED = f"{listing.HEADER}\naz://a/b.jsonl\t10\t20\te\t\n"
RATES = {"en": {"books": 1, "news": {"daily": 0.5}}, "ar": {"news": 2}}
RUN = (ROOT / "config" / "runs" / "demo" / "run.yaml").read_text()
CONFIG = (ROOT / "config" / "config.yaml").read_text()
TABLE = (ROOT / "config" / "corpora.tsv").read_text()


def odd_yaml(valid: str) -> Iterator[tuple[str, bytes]]:
    """Variants of the values of a YAML file, and of its bytes."""
    whole = json.dumps(yaml.safe_load(valid)).encode()
    yield from json_variants(whole)
    yield from odd_text(valid)


def odd_text(valid: str) -> Iterator[tuple[str, bytes]]:
    """Texts cut short, changed, in other encodings, and with what no text holds in each line."""
    yield from byte_variants(valid.encode())
    for encoding in ("utf-16", "utf-32", "utf-16-be", "cp037", "utf-8-sig"):
        yield encoding, valid.encode(encoding, errors="replace")
    lines = valid.splitlines()
    for odd in (
        "\0",
        "\t",
        "\x1b[31m",
        "\u2028",
        '"',
        "'",
        "-" * 70_000,
        "{",
        "[",
        "&a *a",
        "!!python/object:os.system x",
        "? [",
    ):
        for number in range(0, len(lines), max(1, len(lines) // 8)):
            yield (
                f"{odd[:10]!r} in line {number}",
                "\n".join([*lines[:number], lines[number] + odd, *lines[number + 1 :]]).encode(),
            )
            yield f"{odd[:10]!r} before line {number}", "\n".join([*lines[:number], odd, *lines[number:]]).encode()


def odd_json(valid: Any) -> Iterator[tuple[str, bytes]]:
    text = json.dumps(valid)
    if isinstance(valid, dict):
        yield from json_variants(text.encode())
    yield from odd_text(json.dumps(valid, indent=1))


def in_a_run(folder: Path, name: str) -> choices.Choices:
    """Read the choices of a run, of which one is odd."""
    usual = {"data_ratio.json": RATES, "lang_prob.json": {"en": 1, "ar": 2}, "exclude_iterator.json": None}
    for other, value in usual.items():
        if other != name and value:
            (folder / other).write_text(json.dumps(value))
    if name != "run.yaml":
        (folder / "run.yaml").write_text(RUN)
    return choices.load(
        folder / "data_ratio.json",
        folder / "lang_prob.json",
        folder / name if name.startswith("ex") else None,
        folder / "run.yaml",
    )


def json_file(value: Any) -> Callable[[], Iterator[tuple[str, bytes]]]:
    return lambda: odd_json(value)


READERS: dict[str, tuple[str, Callable[[], Iterator[tuple[str, bytes]]], Callable[[Path], object]]] = {
    "config": ("config.yaml", lambda: odd_yaml(CONFIG), lambda path: configuration.load_config(path)),
    "run": ("run.yaml", lambda: odd_yaml(RUN), lambda path: configuration.load_run(path.parent)),
    "table": ("corpora.tsv", lambda: odd_text(TABLE), configuration.load_corpora),
    "rates": ("data_ratio.json", json_file(RATES), lambda path: in_a_run(path.parent, path.name)),
    "shares": ("lang_prob.json", json_file({"en": 1, "ar": 2.5}), lambda path: in_a_run(path.parent, path.name)),
    "excluded": (
        "exclude_iterator.json",
        json_file({"exclude_iterator_name": ["en_books_*"]}),
        lambda path: in_a_run(path.parent, path.name),
    ),
    "listing": ("listing.tsv", lambda: odd_text(LISTED), listing.read),
    "plan": ("plan.json", json_file(PLAN), lambda path: plan.load(path, CORPUS)),
    "merge receipt": ("receipt.json", json_file(MERGED), MergeReceipt.read),
    "tokenize receipt": ("receipt.json", json_file(TOKENIZED), TokenizeReceipt.read),
    "signature": ("data_signature.json", json_file(SIGNED), signature.load),
}


@pytest.mark.parametrize("reader", READERS)
def test_an_odd_file_is_a_message(tmp_path: Path, reader: str) -> None:
    name, variants, read = READERS[reader]
    path, ends = tmp_path / name, {}
    made = list(variants())
    for variant, content in made[:: -(-len(made) // (MOST_YAML if name.endswith("yaml") else MOST))]:
        path.write_bytes(content)
        try:
            read(path)
            ends[variant] = "read"
        except PretrainError as error:
            told = str(error)
            assert len(told) < 4000 and "\n  where: " in told and "\n  next:  " in told, told
            ends[variant] = type(error).__name__
        except Exception:
            ends[variant] = traceback.format_exc()
    tracebacks = [f"{variant}: {end}" for variant, end in ends.items() if end.startswith("Traceback")]
    assert not tracebacks, "\n".join(tracebacks[:3])
    read_ones = sum(end == "read" for end in ends.values())
    print(f"{reader}: {len(ends)} variants, {read_ones} read, {len(ends) - read_ones} refused")
    assert len(ends) >= 90 and len(ends) - read_ones >= 50
