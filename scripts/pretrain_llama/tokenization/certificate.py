"""A tokenizer's certificate: which texts the fast engine was found to encode as the reference does, and which not.

results/tokenizers/{identity}/parity.json; docs/formats.md has an example.
"""

import glob
import hashlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from pretrain_llama import __version__, files, stores
from pretrain_llama.errors import ConfigError, DataError, OperatorError
from pretrain_llama.names import PREFIX_SUFFIX
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.tokenization.engines import Reference
from pretrain_llama.tokenization.untrusted import Pattern, Untrusted

FORMAT = 2  # of format 1, some trusted the fast engine with pieces of one score
RECEIPT = f"{PREFIX_SUFFIX}.receipt.json"
FILE_NAME = "parity.json"
ENGINES = ", ".join(f"{package} {version(package)}" for package in ("gigatoken", "sentencepiece", "tokenizers"))
FAST_ENGINE = f"gigatoken {version('gigatoken')}"
AGAIN = "make it again: snakemake --forcerun certify_tokenizer; finished shards stay as they are"


@dataclass
class Certificate:
    """A comparison's result: what was compared, what differed, and what is therefore untrusted.

    Attributes:
        model_sha256: of the tokenizer's file.
        named: what the configuration calls its BOS and EOS, which texts cannot reach.
        fast, reference: the engines, with their versions.
        alone: why the reference has to encode all documents; empty where it has not.
        untrusted: patterns of what a document may not hold for the fast engine, as `Pattern.to_json` gives them.
        differences: the smallest strings that differed, some of each kind, with the ids of both engines.
        unicode: version of what is known of characters.
        seed: of the documents that were made up.
        compared: number of texts, by section.
        seconds: that it took.
        made_without: shards that were made before there was a certificate.
    """

    tokenizer: str
    version: str
    model_sha256: str
    named: dict[str, str | None]
    fast: str
    reference: str
    alone: str = ""
    untrusted: list[dict[str, Any]] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)
    unicode: str = ""
    seed: int = 0
    compared: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    made_without: list[str] = field(default_factory=list)
    format: int = FORMAT

    @cached_property
    def patterns(self) -> Untrusted:
        """The untrusted patterns, ready to search texts for."""
        return Untrusted([Pattern.from_json(pattern) for pattern in self.untrusted])

    @property
    def summary(self) -> str:
        """What the certificate says, as one line for a person."""
        compared = f"{sum(self.compared.values()):,} texts compared in {self.seconds:.0f} s"
        if self.alone:
            return f"{self.tokenizer}: {self.reference} encodes all documents: {self.alone} ({compared})"
        learnt = len({difference["why"] for difference in self.differences})
        differ = f"{learnt} kinds of strings differ" if learnt else "none differs"
        return f"{self.tokenizer}: {compared}, {differ}; {self.fast} encodes all documents without what is untrusted"

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of what it says of the tokenizer.

        `seconds` and `made_without` are left out: they differ between machines, and receipts of equal shards are equal.
        """
        said = {key: value for key, value in asdict(self).items() if key not in ("seconds", "made_without")}
        return hashlib.sha256(files.json_text(said).encode()).hexdigest()[:16]

    def write(self, path: str | Path) -> None:
        """Write it as JSON."""
        files.write_json(path, asdict(self))

    @classmethod
    def of(cls, reference: Reference, tokenizer: str) -> Self:
        """Return an empty certificate of a tokenizer; tokenizer: its identity."""
        named = {role: name or None for role, name in reference.named.items()}
        return cls(tokenizer, __version__, files.sha256(reference.path), named, FAST_ENGINE, reference.name)

    @classmethod
    def read(cls, location: str | Path) -> Self:
        """Return the certificate that a file or blob holds.

        Raises:
            DataError: it holds none of this version.
        """
        content = stores.read_json(location)
        if not _is_of_this_version(content):
            raise DataError("no certificate of this version of the programs", where=location, action=AGAIN)
        return cls(**content)

    @classmethod
    def find(cls, location: str | Path) -> Self | None:
        """Return the certificate at a location; None if there is none, or one of another version, to be made again."""
        content = stores.find_json(location)
        return cls(**content) if _is_of_this_version(content) else None

    def check(self, reference: Reference, where: str | Path) -> None:
        """Check that the certificate is of this tokenizer, and of the installed engines.

        Raises:
            OperatorError: it is of others.
        """
        expected = Certificate.of(reference, self.tokenizer)
        for what in ("model_sha256", "named", "fast", "reference"):
            certified, is_now = getattr(self, what), getattr(expected, what)
            if certified != is_now:
                raise OperatorError(
                    f"the tokenizer's certificate has {what} {certified}, and now it is {is_now}",
                    where=where,
                    action=AGAIN,
                )


def _is_of_this_version(content: Any) -> bool:
    return isinstance(content, dict) and content.get("format") == FORMAT


def find_certificate(reference: Reference, path: str | Path) -> tuple[Certificate | None, str]:
    """Return a tokenizer's certificate, None if it has none; and why the reference must encode all, if it must.

    Args:
        reference: its reference engine.
        path: where the certificate is, if there is one.

    Raises:
        DataError, OperatorError: as `read` and `check`.
    """
    if not Path(path).exists():
        return None, f"the tokenizer has no certificate at {path} (certify_tokenizer.py makes it)"
    certificate = Certificate.read(path)
    certificate.check(reference, path)
    return certificate, certificate.alone


def made_without(tokenized: str) -> list[str]:
    """Return the shards of a tokenizer that were made before it had a certificate; tokenized: where its shards are."""
    with ThreadPoolExecutor(stores.ASKED_AT_ONCE) as threads:
        receipts = threads.map(TokenizeReceipt.read, receipts_of(tokenized))
        return [receipt.shard for receipt in receipts if not receipt.certificate]


def receipts_of(tokenized: str) -> list[str]:
    """Return the receipts of a tokenizer's shards, by one listing; tokenized: where its shards are."""
    try:
        return [file.path for file in stores.list_files(f"{glob.escape(tokenized)}/*{RECEIPT}", "")]
    except ConfigError:  # there are none
        return []


def finished_shards(results: str, shards: Collection[str]) -> set[str]:
    """Return those of some shards of a corpus that any tokenizer has tokenized, by one listing.

    Args:
        results: where results lie: a folder, or its location in a store.
        shards: names of a corpus's shards.
    """
    corpus = next(iter(shards), "").rpartition("_split_")[0]
    try:
        found = stores.list_files(f"{glob.escape(results)}/tokenized/*/{glob.escape(corpus)}_split_*{RECEIPT}", "")
    except ConfigError:  # there are none
        return set()
    return {file.path.rpartition("/")[2].removesuffix(RECEIPT) for file in found} & set(shards)
