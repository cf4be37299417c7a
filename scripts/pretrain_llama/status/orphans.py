"""Find files in results/ that belong to no corpus, tokenizer or run of the configuration."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pretrain_llama import stores
from pretrain_llama.errors import ConfigError
from pretrain_llama.mixture import signature
from pretrain_llama.names import HELD_OUT_SUFFIX, PREFIX_SUFFIX

_OF_SHARD = re.compile(rf"(?P<shard>(?P<corpus>.+)_split_\d+)({PREFIX_SUFFIX}|{HELD_OUT_SUFFIX})?[._].*")


@dataclass(frozen=True)
class Known:
    """What the configuration and the plans have.

    Attributes:
        shards: by corpus of the table, those of its plan.
        tokenizers: identities, also those of expansions.
        expansions: names of these.
        runs: their names.
    """

    shards: Mapping[str, Collection[str]]
    tokenizers: Collection[str]
    expansions: Collection[str]
    runs: Collection[str]


@dataclass(frozen=True)
class Orphan:
    """A file that belongs to nothing: to whom it belonged, as words, its location, and its bytes."""

    owner: str
    location: str
    bytes: int


def orphans(results: str, known: Known) -> list[Orphan]:
    """Return the files that belong to nothing, by their location.

    Logs, benchmarks and converted checkpoints are not looked at.

    Args:
        results: where results lie: a folder, or az://container/path.
        known: see `Known`.
    """
    owner_of = _Owners(results, known)
    named = ((owner_of(path.removeprefix(f"{results}/")), path, size) for path, size in _files(results))
    return [Orphan(owner, path, size) for owner, path, size in named if owner]


def _files(results: str) -> list[tuple[str, int]]:
    """Return all files or blobs, with their bytes, by location; here, many are links to one another."""
    if not stores.is_blob(results):
        paths = sorted(Path(results).rglob("*"))
        return [(str(path), path.lstat().st_size) for path in paths if path.is_symlink() or path.is_file()]
    try:
        return [(file.path, file.size_bytes) for file in stores.list_files(f"{results}/**", "results")]
    except ConfigError:  # nothing is there
        return []


def told_of(found: Iterable[Orphan]) -> list[str]:
    """Return lines for a person: a sum for each owner that is no more, and the command that removes them."""
    sums: dict[str, list[int]] = {}
    for orphan in found:
        count = sums.setdefault(orphan.owner, [0, 0])
        count[0] += 1
        count[1] += orphan.bytes
    if not sums:
        return []
    lines = [f"  {owner}: {files:,} files, {size:,} bytes" for owner, (files, size) in sorted(sums.items())]
    owners = " ".join(f"'{owner}'" for owner in sorted(sums))
    head = "files that belong to no corpus, tokenizer or run of the configuration:"
    return [head, *lines, f"  python scripts/remove_orphans.py {owners} lists them; with --yes, it removes them"]


class _Owners:
    """Says to whom a file belonged that belongs to nothing."""

    def __init__(self, results: str, known: Known) -> None:
        self._results, self._known = results, known
        self._signed: dict[str, set[str]] = {}
        self._rooms: dict[str, Callable[[PurePosixPath], str]] = {
            "plan": lambda path: self._of_corpus(path.stem),
            "shards": self._of_shard,
            "tokenizers": self._of_tokenizer,
            "tokenized": lambda path: self._of_tokenizer(path) or self._of_shard(path),
            "indexed": lambda path: self._of_tokenizer(path) or self._of_shard(path) or self._of_signature(path),
            "validation": lambda path: self._of_tokenizer(path) or self._of_domain(path),
            "runs": lambda path: "" if path.parts[1] in known.runs else f"run {path.parts[1]}",
            "expansions": self._of_expansion,
        }

    def __call__(self, path: str) -> str:
        """Return the owner in words, nothing for a file that has one; path: below results/."""
        parts = PurePosixPath(path)
        room = self._rooms.get(parts.parts[0])
        return room(parts) if room and len(parts.parts) > 1 else ""

    def _of_corpus(self, corpus: str) -> str:
        return "" if corpus in self._known.shards else f"corpus {corpus}"

    def _of_shard(self, path: PurePosixPath) -> str:
        match = _OF_SHARD.fullmatch(path.name)
        if not match:
            return ""
        corpus = match["corpus"]
        if owner := self._of_corpus(corpus):
            return owner
        return "" if match["shard"] in self._known.shards[corpus] else f"shards that left {corpus}"

    def _of_tokenizer(self, path: PurePosixPath) -> str:
        return "" if path.parts[1] in self._known.tokenizers else f"tokenizer {path.parts[1]}"

    def _of_signature(self, path: PurePosixPath) -> str:
        tokenizer = path.parts[1]
        if tokenizer not in self._signed:
            location = f"{self._results}/tokenized/{tokenizer}/data_signature.json"
            there = stores.exists(location)
            self._signed[tokenizer] = set(map(str, signature.load(location).shards)) if there else {path.stem}
        return "" if path.stem in self._signed[tokenizer] else f"pairs that are not signed, of {tokenizer}"

    def _of_domain(self, path: PurePosixPath) -> str:
        domains = {"_".join(corpus.split("_")[:2]) for corpus in self._known.shards}
        is_set = path.suffix in (".bin", ".idx")
        return f"validation set {path.stem}" if is_set and path.stem not in domains else ""

    def _of_expansion(self, path: PurePosixPath) -> str:
        name = path.stem if len(path.parts) == 2 else path.parts[1].rpartition(".")[0]
        return "" if name in self._known.expansions else f"expansion {name}"
