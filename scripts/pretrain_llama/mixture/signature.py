"""The data signature: a JSON list of the counted names of all shards, sorted, each as

    {tokenizer's identity}/{shard}_text_document_dc={documents}_sc={sequences}_tc={tokens}.bin

which is the path of the shard below results/indexed/. Lists of bare names, as they were once written, are read too.
"""

from dataclasses import dataclass
from pathlib import Path

from pretrain_llama import stores
from pretrain_llama.errors import DataError
from pretrain_llama.names import CountedName, parse_counted, parse_shard
from pretrain_llama.receipts import TokenizeReceipt


@dataclass(frozen=True)
class Signature:
    """A signature, read: the identity of the tokenizer, None in an old list, and the shards, sorted by name."""

    tokenizer: str | None
    shards: list[CountedName]


def sign(receipts: list[TokenizeReceipt], place: str) -> list[str]:
    """Return the signature of tokenized shards.

    Raises:
        DataError: they were made with different tokenizers.
    """
    _check_one_tokenizer({receipt.tokenizer for receipt in receipts}, place)
    return sorted(signed_name(receipt) for receipt in receipts)


def signed_name(receipt: TokenizeReceipt) -> str:
    """Return a tokenized shard's entry in the signature."""
    shard = parse_shard(receipt.shard)
    counted = CountedName(shard, receipt.documents, receipt.sequences, receipt.tokens)
    return f"{receipt.tokenizer}/{counted}.bin"


def load(path: str | Path) -> Signature:
    """Return a signature; .bin and .idx of one shard may both be listed.

    Raises:
        DataError: a name does not follow the grammar, a shard stands there under two counts, or the shards were made
            with different tokenizers.
    """
    shards: dict[str, CountedName] = {}
    entries = sorted({entry.removesuffix(".bin").removesuffix(".idx") for entry in stores.read_json(path)})
    for name in (entry.rpartition("/")[2] for entry in entries):
        counted = parse_counted(name)
        if str(counted.shard) in shards:
            raise DataError(
                f"{counted.shard} stands there twice, as {name} and as {shards[str(counted.shard)]}",
                where=path,
                action="remove the stale one, made by an earlier tokenizer or from other text",
            )
        shards[str(counted.shard)] = counted
    tokenizers = {entry.rpartition("/")[0] for entry in entries}
    _check_one_tokenizer(tokenizers, path)
    return Signature(next(iter(tokenizers), None) or None, sorted(shards.values(), key=str))


def _check_one_tokenizer(tokenizers: set[str], place: object) -> None:
    if len(tokenizers) > 1:
        raise DataError(
            f"shards of different tokenizers: {', '.join(sorted(name or 'none named' for name in tokenizers))}",
            where=place,
            action="train on the shards of one tokenizer: ids mean other text in the next one",
        )
