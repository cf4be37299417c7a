"""Read and write the data signature: a JSON list of the counted names of all shards, sorted, each as

    {tokenizer's identity}/{shard}_text_document_dc={documents}_sc={sequences}_tc={tokens}.bin

which is the path of the shard below results/indexed/. Lists of bare names, as they were once written, are read too.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pretrain_llama import stores
from pretrain_llama.errors import DataError, listed
from pretrain_llama.names import TOKENIZER, CountedName, Counts, parse_counted, parse_shard
from pretrain_llama.receipts import TokenizeReceipt

NOTHING = Counts(0, 0, 0)
NONE: Mapping[str, Counts] = {}


@dataclass(frozen=True)
class Signature:
    """A signature, read: the identity of the tokenizer, None in an old list, and the shards, sorted by name."""

    tokenizer: str | None
    shards: list[CountedName]


def sign(receipts: list[TokenizeReceipt], where: str, left_out: Mapping[str, Counts] = NONE) -> list[str]:
    """Return the signature of tokenized shards.

    Args:
        receipts: of the shards.
        where: the signature is, for the message.
        left_out: by shard, the documents that are left out of it, as copies of others.

    Raises:
        DataError: they were made with different tokenizers.
    """
    check_one_tokenizer({receipt.tokenizer for receipt in receipts}, where)
    return sorted(signed_name(receipt, left_out.get(receipt.shard, NOTHING)) for receipt in receipts)


def signed_name(receipt: TokenizeReceipt, left_out: Counts = NOTHING) -> str:
    """Return a tokenized shard's entry in the signature: without what is left out of it."""
    shard = parse_shard(receipt.shard)
    counted = CountedName(
        shard,
        receipt.documents - left_out.documents,
        receipt.sequences - left_out.sequences,
        receipt.tokens - left_out.tokens,
    )
    return f"{receipt.tokenizer}/{counted}.bin"


def load(path: str | Path) -> Signature:
    """Return a signature; it may list .bin and .idx of each shard, or .bin alone, or names without either.

    Raises:
        DataError: it is no list of names, a name does not follow the grammar or stands there twice, a shard stands
            there under two counts or without its .idx, or the shards were made with different tokenizers.
    """
    entries = _entries(path)
    prefixes = _whole_pairs(entries, path)
    shards: dict[str, CountedName] = {}
    for prefix in sorted(prefixes):
        counted = parse_counted(prefix.rpartition("/")[2])
        if str(counted.shard) in shards:
            raise DataError(
                f"{counted.shard} stands there twice, as {counted} and as {shards[str(counted.shard)]}",
                where=path,
                action="remove the stale one, made by an earlier tokenizer or from other text",
            )
        shards[str(counted.shard)] = counted
    tokenizers = {tokenizer_of(prefix) for prefix in prefixes}
    check_one_tokenizer(tokenizers, path)
    return Signature(next(iter(tokenizers)), sorted(shards.values(), key=str))


def _entries(path: str | Path) -> list[str]:
    entries = stores.read_json(path)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, str) for entry in entries):
        raise DataError("no list of names of shards", where=path, action="write [name.bin, …], one for each shard")
    twice = next((entry for entry, count in Counter(entries).items() if count > 1), None)
    if twice:
        raise DataError(f"{twice} stands there twice", where=path, action="remove one of the two")
    return entries


def _whole_pairs(entries: list[str], path: str | Path) -> set[str]:
    """Return the prefixes; where any .idx is listed, every .bin needs its own, and the reverse."""
    bins = {entry.removesuffix(".bin") for entry in entries if not entry.endswith(".idx")}
    idxs = {entry.removesuffix(".idx") for entry in entries if entry.endswith(".idx")}
    for present, missing, names in ((".bin", ".idx", bins - idxs), (".idx", ".bin", idxs - bins)):
        if idxs and names:
            raise DataError(
                listed([f"{name}{present} has no {missing}" for name in sorted(names)], shown=1),
                where=path,
                action="list both of each shard, after making those that are missing, or .bin alone throughout",
            )
    return bins


def tokenizer_of(prefix: str) -> str | None:
    """Return the identity of the tokenizer that the path of a pair names; older ones name none."""
    folder = prefix.rpartition("/")[0].rpartition("/")[2]
    return folder if re.fullmatch(TOKENIZER, folder) else None


def check_one_tokenizer(tokenizers: set[str | None], where: object) -> None:
    """Raise DataError if there is more than one identity of a tokenizer; None is one that is not named."""
    if len(tokenizers) > 1:
        raise DataError(
            f"shards of different tokenizers: {', '.join(sorted(name or 'none named' for name in tokenizers))}",
            where=where,
            action="train on the shards of one tokenizer: ids mean other text in the next one",
        )
