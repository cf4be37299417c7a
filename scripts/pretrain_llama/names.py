"""The grammar of file names: parse and format the names of corpora, shards, pairs and tokenizers.

    corpus     {language}_{domain}_{subdomain}                  en_code_python
    shard      {corpus}_split_{split_id}                        en_code_python_split_0003
    prefix     {shard}_text_document                            en_code_python_split_0003_text_document
    counted    {prefix}_dc={documents}_sc={sequences}_tc={tokens}
    held out   {shard}_held_out_document                        its documents for validation
    tokenizer  {name}.{hash}                                    demo-8k.0a1b2c3d, its identity

A language holds letters, digits and "-"; a domain holds no "_"; a subdomain may hold "_", "-" and even
"split": the last "_split_<digits>" counts. We write split ids with four digits. Historical names, without a
subdomain (ar_books_split_00) or without "_split_" (ar_Allam-books_000), are read and kept as they are.
"""

import re
from dataclasses import dataclass

from pretrain_llama.errors import DataError

LANGUAGE = r"[A-Za-z0-9-]+"
DOMAIN = r"[A-Za-z0-9.+-]+"
SUBDOMAIN = r"[A-Za-z0-9_.+-]+"
CORPUS = f"{LANGUAGE}_{DOMAIN}_{SUBDOMAIN}"
SHARD = rf"{CORPUS}_split_\d{{4}}\d*"  # Snakemake does not read an open repetition, \d{{4,}}, in a constraint
HASH = r"\.[0-9a-f]{8}"  # of what a name alone does not tell
TOKENIZER = rf"[A-Za-z0-9-]+{HASH}"
PREFIX_SUFFIX = "_text_document"
HELD_OUT_SUFFIX = "_held_out_document"

_SHARD = re.compile(
    rf"(?P<language>{LANGUAGE})_(?P<domain>{DOMAIN})(?:_(?P<subdomain>{SUBDOMAIN}))?"
    r"(?P<marker>_split_)(?P<split_id>\d+)"
)
_HISTORICAL_SHARD = re.compile(_SHARD.pattern.replace("_split_", "_"))
_COUNT = r"\d{1,19}"  # an .idx counts in int64
_COUNTED = re.compile(
    rf"(?P<shard>.+){PREFIX_SUFFIX}_dc=(?P<documents>{_COUNT})_sc=(?P<sequences>{_COUNT})_tc=(?P<tokens>{_COUNT})"
)


@dataclass(frozen=True)
class ShardName:
    """The parts of a shard's name; `str()` gives the name back, historical spellings included."""

    language: str
    domain: str
    subdomain: str
    split_id: str
    marker: str = "_split_"

    @property
    def corpus(self) -> str:
        """{language}_{domain}_{subdomain}, the subdomain left out where the name has none."""
        return "_".join(part for part in (self.language, self.domain, self.subdomain) if part)

    def __str__(self) -> str:
        return f"{self.corpus}{self.marker}{self.split_id}"


@dataclass(frozen=True)
class Counts:
    """Documents, sequences and tokens of a pair; `str()` gives them as its name has them."""

    documents: int
    sequences: int
    tokens: int

    def __str__(self) -> str:
        return f"dc={self.documents} sc={self.sequences} tc={self.tokens}"


@dataclass(frozen=True)
class CountedName:
    """A tokenized shard with its counts; `str()` gives the file name without .bin or .idx."""

    shard: ShardName
    documents: int
    sequences: int
    tokens: int

    @property
    def counts(self) -> Counts:
        """The pair's counts, as its name gives them."""
        return Counts(self.documents, self.sequences, self.tokens)

    def __str__(self) -> str:
        return f"{self.shard}{PREFIX_SUFFIX}_dc={self.documents}_sc={self.sequences}_tc={self.tokens}"


def find_counts(name: str) -> Counts | None:
    """Return the counts that a pair's name carries; None where it carries none."""
    match = _COUNTED.fullmatch(name)
    return Counts(*(int(match[field]) for field in ("documents", "sequences", "tokens"))) if match else None


def shard_name(corpus: str, split_id: int) -> str:
    """Return the name of a corpus's shard, as we write it."""
    return f"{corpus}_split_{split_id:04d}"


def parse_shard(name: str) -> ShardName:
    """Return the parts of a shard's name.

    Raises:
        DataError: the name does not follow the grammar.
    """
    match = _SHARD.fullmatch(name) or _HISTORICAL_SHARD.fullmatch(name)
    if not match:
        raise DataError(
            f"{name!r} is not the name of a shard",
            where=name,
            action="name it {language}_{domain}_{subdomain}_split_{split_id}, as in en_code_python_split_0003",
        )
    return ShardName(**{part: text or "" for part, text in match.groupdict().items()})


def parse_counted(name: str) -> CountedName:
    """Return the parts of a counted name, given with or without .bin or .idx.

    Raises:
        DataError: the name carries no counts, or its shard does not follow the grammar.
    """
    match = _COUNTED.fullmatch(name.removesuffix(".bin").removesuffix(".idx"))
    if not match:
        raise DataError(
            f"{name!r} carries no counts",
            where=name,
            action=f"name it {{shard}}{PREFIX_SUFFIX}_dc={{documents}}_sc={{sequences}}_tc={{tokens}}, "
            "each of at most 19 digits",
        )
    counts = {field: int(match[field]) for field in ("documents", "sequences", "tokens")}
    return CountedName(parse_shard(match["shard"]), **counts)
