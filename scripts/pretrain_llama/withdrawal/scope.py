"""Work out what a withdrawal touches: shards, files, bytes, tokens, runs. Nothing is changed here."""

import glob
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pretrain_llama.duplicates.record import pair_location
from pretrain_llama.errors import ConfigError
from pretrain_llama.files import read_json
from pretrain_llama.names import HELD_OUT_SUFFIX, PREFIX_SUFFIX, parse_shard
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.shards.changes import shards_with
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.withdrawal.pairs import documents_with
from pretrain_llama.withdrawal.traces import Trace, trace

RECEIPT = f"{PREFIX_SUFFIX}.receipt.json"


@dataclass
class Scope:
    """What a withdrawal touches.

    Attributes:
        files: by corpus, vendor files that are withdrawn.
        retired: shards that go as a whole.
        thinned: (tokenizer, shard) of shards that lose documents.
        documents, tokens: that go, of all tokenizers.
        deleted: files that go as a whole.
        bytes: that go, of these and of the documents.
        runs: that hold any of it, or were trained on it.
    """

    files: dict[str, list[str]] = field(default_factory=dict)
    retired: list[str] = field(default_factory=list)
    thinned: list[tuple[str, str]] = field(default_factory=list)
    documents: int = 0
    tokens: int = 0
    deleted: list[str] = field(default_factory=list)
    bytes: int = 0
    runs: list[Trace] = field(default_factory=list)

    @property
    def told(self) -> list[str]:
        """Lines for a person."""
        return [
            *(f"vendor file of {corpus}: {path}" for corpus, paths in self.files.items() for path in paths),
            *(f"shard goes: {shard}" for shard in self.retired),
            *(f"shard loses documents: {tokenizer}/{shard}" for tokenizer, shard in self.thinned),
            f"{self.documents:,} documents, {self.tokens:,} tokens, {self.bytes:,} bytes: {len(self.deleted):,} files, "
            f"and parts of {len(self.thinned):,} pairs",
            *(line for run in self.runs for line in run.told),
        ]


def of_files(results: Path, files: Mapping[str, list[str]]) -> Scope:
    """Return what goes with vendor files: every shard that holds any of them, of all tokenizers.

    Args:
        results: where results lie.
        files: by corpus, as its plan has them.

    Raises:
        ConfigError: a plan does not hold a file.
    """
    scope = Scope(files={corpus: sorted(paths) for corpus, paths in files.items()})
    domains = set()
    for corpus, paths in scope.files.items():
        plan = read_json(results / "plan" / f"{corpus}.json")
        for path in paths:
            if path not in plan["files"]:
                raise ConfigError(
                    f"no planned file {path!r}",
                    where=results / "plan" / f"{corpus}.json",
                    action="name files as the plan does",
                )
        scope.retired += shards_with(plan, paths)
    for shard in scope.retired:
        for location in sorted(results.glob(f"tokenized/*/{glob.escape(shard)}{RECEIPT}")):
            receipt = TokenizeReceipt.read(location)
            scope.documents += receipt.documents + receipt.held_out_documents
            scope.tokens += receipt.tokens + receipt.held_out_tokens
            domains.add((location.parent.name, *_domain(shard)))
    _add_files(results, scope, domains, scope.retired)
    return scope


def of_documents(results: Path, keys: Mapping[str, np.ndarray]) -> Scope:
    """Return what goes with documents, wherever they are.

    Args:
        results: where results lie.
        keys: by tokenizer, (keys, 16) uint8.

    Raises:
        ConfigError: no document has any of the keys.
        DataError: a shard has no keys.
    """
    scope, domains = Scope(), set()
    for tokenizer, wanted in keys.items():
        folder = results / "tokenized" / tokenizer
        for path in sorted(folder.glob(f"*{RECEIPT}")):
            receipt = TokenizeReceipt.read(path)
            trained = _lengths(pair_location(folder, receipt.shard), receipt.documents, wanted)
            held_out = _lengths(f"{folder}/{receipt.shard}{HELD_OUT_SUFFIX}", receipt.held_out_documents, wanted)
            if len(trained) + len(held_out):
                scope.thinned.append((tokenizer, receipt.shard))
                scope.documents += len(trained) + len(held_out)
                tokens = int(trained.sum() + held_out.sum())
                scope.tokens += tokens
                scope.bytes += tokens * np.dtype(receipt.dtype).itemsize
            if len(held_out):
                domains.add((tokenizer, *_domain(receipt.shard)))
    if not scope.thinned:
        raise ConfigError(
            "no document of any shard has one of these keys",
            where=results / "tokenized",
            action="look them up with scripts/find_documents.py",
        )
    _add_files(results, scope, domains, [])
    return scope


def _lengths(prefix: str, documents: int, wanted: np.ndarray) -> np.ndarray:
    """Return the tokens of each document of a pair that has one of some keys, int64."""
    numbers = documents_with(prefix, documents, wanted)
    return np.asarray(IndexedReader(prefix).lengths[numbers], np.int64) if len(numbers) else np.empty(0, np.int64)


def _domain(shard: str) -> tuple[str, str]:
    parsed = parse_shard(shard)
    return parsed.language, parsed.domain


def _add_files(results: Path, scope: Scope, domains: Iterable[tuple[str, str, str]], retired: list[str]) -> None:
    """Add the files that go, and the runs."""
    shards = sorted({*retired, *(shard for _, shard in scope.thinned)})
    scope.runs = trace(results, shards)
    patterns = [*_of_shards(shards, retired), *_of_validation(results, domains), "report.html"]
    patterns += [f"runs/{glob.escape(run.folder.name)}/manifest.json" for run in scope.runs]
    found = {path for pattern in patterns for path in results.glob(pattern) if path.is_file()}
    tokenizers = {path.parent.name for path in found if path.parent.parent.name == "tokenized"}
    tokenizers |= {tokenizer for tokenizer, _ in scope.thinned}
    for tokenizer in tokenizers:  # both show how documents begin
        found |= {
            path for name in ("duplicates.json", "documents.html") if (path := _page(results, tokenizer, name)).exists()
        }
    scope.deleted = sorted(map(str, found))
    scope.bytes += sum(path.stat().st_size for path in found)


def _page(results: Path, tokenizer: str, name: str) -> Path:
    return results / "tokenized" / tokenizer / name


def _of_shards(shards: Iterable[str], retired: Iterable[str]) -> Iterator[str]:
    for shard in map(glob.escape, shards):
        yield f"shards/{shard}.jsonl"
        yield f"indexed/*/{shard}{PREFIX_SUFFIX}_dc=*"
        yield f"runs/*/data/{shard}{PREFIX_SUFFIX}_dc=*"
    for shard in map(glob.escape, retired):
        yield f"shards/{shard}.receipt.json"
        yield f"tokenized/*/{shard}{PREFIX_SUFFIX}.*"
        yield f"tokenized/*/{shard}{HELD_OUT_SUFFIX}.*"
        yield f"logs/**/{shard}*"


def _of_validation(results: Path, domains: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    for tokenizer, language, domain in domains:
        yield f"validation/{glob.escape(tokenizer)}/{glob.escape(f'{language}_{domain}')}.*"
        yield f"runs/*/validation/{glob.escape(f'{language}_{domain}')}.*"
