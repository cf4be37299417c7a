"""The data signature: a JSON list of the counted names of all shards, each with .bin, sorted."""

from pathlib import Path

from pretrain_llama.errors import DataError
from pretrain_llama.files import read_json
from pretrain_llama.names import CountedName, parse_counted, parse_shard
from pretrain_llama.receipts import TokenizeReceipt


def sign(receipts: list[TokenizeReceipt], place: str) -> list[str]:
    """Return the signature of tokenized shards.

    Raises:
        DataError: they were made with different tokenizers.
    """
    tokenizers = sorted({receipt.tokenizer for receipt in receipts})
    if len(tokenizers) > 1:
        raise DataError(
            f"shards of different tokenizers: {', '.join(tokenizers)}",
            where=place,
            action="sign the shards of one tokenizer at a time",
        )
    return sorted(f"{counted_name(receipt)}.bin" for receipt in receipts)


def counted_name(receipt: TokenizeReceipt) -> CountedName:
    """Return the counted name of a tokenized shard."""
    return CountedName(parse_shard(receipt.shard), receipt.documents, receipt.sequences, receipt.tokens)


def load(path: str | Path) -> list[CountedName]:
    """Return the shards of a signature, sorted by name; .bin and .idx of one shard may both be listed.

    Raises:
        DataError: a name does not follow the grammar, or a shard stands there under two counts.
    """
    shards: dict[str, CountedName] = {}
    for name in sorted({entry.removesuffix(".bin").removesuffix(".idx") for entry in read_json(path)}):
        counted = parse_counted(name)
        if str(counted.shard) in shards:
            raise DataError(
                f"{counted.shard} stands there twice, as {name} and as {shards[str(counted.shard)]}",
                where=path,
                action="remove the stale one, made by an earlier tokenizer or from other text",
            )
        shards[str(counted.shard)] = counted
    return sorted(shards.values(), key=str)
