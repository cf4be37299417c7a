"""Compare the documents of all shards of a tokenizer, and decide which copies are left out."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pretrain_llama import stores
from pretrain_llama.duplicates import record
from pretrain_llama.duplicates.finding import Found, Pair, find
from pretrain_llama.duplicates.record import HELD_OUT, Copies, Duplicates, pair_location
from pretrain_llama.errors import DataError
from pretrain_llama.names import HELD_OUT_SUFFIX
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.tokenization.indexed import HEADER, read_counts
from pretrain_llama.tokenization.keys import KEYS_SUFFIX, read_keys

SHOWN_TOKENS = 40
Decode = Callable[[list[int]], str]


def compare(
    shards: Sequence[str],
    tokenized: str,
    drop: bool,
    memory_bytes: int,
    threads: int,
    scratch: Path | None = None,
    decode: Decode | None = None,
) -> Duplicates:
    """Find the copies among the documents of shards, and with `drop` decide and record which are left out.

    The first of equal documents stays: a held-out one, then one of a shard that was decided before, in that order, then
    by the order of the shards. What was decided stays, but see `record.still_decided`.

    Args:
        shards: of a tokenizer, in the order of the table of corpora and of the plans.
        tokenized: folder of their pairs, or its location in a store.
        drop: decide; otherwise shards without keys are left out of the comparison, and named.
        memory_bytes, threads, scratch: see `finding.find`.
        decode: gives the text of ids, to show how texts with most copies begin; None shows none.

    Raises:
        DataError: a receipt or, with `drop`, the keys of a shard are missing, or keys are damaged.
    """
    with ThreadPoolExecutor(stores.ASKED_AT_ONCE) as pool:
        receipts = list(pool.map(lambda shard: _receipt(tokenized, shard), shards))
        has_keys = list(
            pool.map(lambda shard: stores.exists(f"{pair_location(tokenized, shard)}{KEYS_SUFFIX}"), shards)
        )
    documents = {receipt.shard: receipt.documents for receipt in receipts}
    missing = [shard for shard, there in zip(shards, has_keys, strict=True) if not there]
    if drop and missing:
        read_keys(pair_location(tokenized, missing[0]), documents[missing[0]])  # says what is missing
    known = [receipt for receipt, there in zip(receipts, has_keys, strict=True) if there]
    decided = record.still_decided(record.read_decided(tokenized), documents) if drop else {}
    order = [*decided, *(receipt.shard for receipt in known if receipt.shard not in decided)]
    pairs = [
        *(_held_out(tokenized, receipt) for receipt in known if receipt.held_out_documents),
        *(_pair(tokenized, shard, documents[shard], decided.get(shard)) for shard in order),
    ]
    found = find(pairs, memory_bytes, threads, scratch)
    copies = dict(decided)
    for pair, numbers, of in zip(pairs, found.copies, _firsts(pairs, found), strict=True):
        if pair.name in documents and pair.name not in decided:
            prefix = pair_location(tokenized, pair.name)
            copies[pair.name] = Copies(pair.documents, _tokens(prefix, numbers), of)
            if drop:
                record.write_dropped(prefix, numbers)
    if drop:
        record.write_decided(tokenized, copies)
    largest = [_shown(tokenized, pairs, count, where, decode) for count, where in found.largest]
    mode = "drop" if drop else "count"
    return Duplicates(mode, {shard: copies[shard] for shard in shards if shard in copies}, missing, largest)


def _receipt(tokenized: str, shard: str) -> TokenizeReceipt:
    return TokenizeReceipt.read(f"{pair_location(tokenized, shard)}.receipt.json")


def _held_out(tokenized: str, receipt: TokenizeReceipt) -> Pair:
    prefix, documents = f"{tokenized}/{receipt.shard}{HELD_OUT_SUFFIX}", receipt.held_out_documents
    return Pair(f"{receipt.shard}{HELD_OUT}", documents, partial(read_keys, prefix, documents))


def _pair(tokenized: str, shard: str, documents: int, decided: Copies | None) -> Pair:
    prefix = pair_location(tokenized, shard)
    read = partial(read_keys, prefix, documents)
    if decided is None:
        return Pair(shard, documents, read)
    dropped = record.read_dropped(prefix)
    if len(dropped) != decided.count:
        raise DataError(
            f"{len(dropped):,} documents of {shard} are dropped, {decided.count:,} were decided",
            where=prefix,
            action=f"bring its {record.DROPPED_SUFFIX} back; or delete {tokenized}/{record.DECIDED}, and run again, "
            "which decides all shards anew",
        )
    return Pair(shard, documents, read, dropped)


def _firsts(pairs: Sequence[Pair], found: Found) -> list[dict[str, int]]:
    """Return for each pair how many of its copies have their first in which other."""
    of: list[dict[str, int]] = [{} for _ in pairs]
    for (first, copy), count in sorted(found.pairs.items()):
        of[copy][pairs[first].name] = count
    return of


def _tokens(prefix: str, numbers: np.ndarray) -> int:
    """Return the tokens of some documents of a pair."""
    if not len(numbers):
        return 0
    lengths = stores.read_range(f"{prefix}.idx", HEADER.size, 4 * read_counts(prefix).sequences)
    return int(np.frombuffer(lengths, np.int32)[numbers].sum(dtype=np.int64))


def _shown(
    tokenized: str, pairs: Sequence[Pair], count: int, where: list[tuple[int, int]], decode: Decode | None
) -> dict[str, Any]:
    """Return a text with many copies as a person reads it."""
    places = [[pairs[pair].name, document] for pair, document in where]
    name, document = pairs[where[0][0]].name, where[0][1]
    suffix = HELD_OUT_SUFFIX if name.endswith(HELD_OUT) else ""
    prefix = f"{tokenized}/{name.removesuffix(HELD_OUT)}{suffix}" if suffix else pair_location(tokenized, name)
    text = decode(_beginning(prefix, document)) if decode else ""
    return {"copies": count, "documents": places, "text": text}


def _beginning(prefix: str, document: int) -> list[int]:
    """Return the first ids of a document of a pair."""
    counts = read_counts(prefix)
    length = np.frombuffer(stores.read_range(f"{prefix}.idx", HEADER.size + 4 * document, 4), np.int32)[0]
    at = HEADER.size + 4 * counts.sequences + 8 * document
    offset = int(np.frombuffer(stores.read_range(f"{prefix}.idx", at, 8), np.int64)[0])
    dtype = np.dtype(np.uint16 if stores.size_bytes(f"{prefix}.bin") == 2 * counts.tokens else np.int32)
    count = min(int(length), SHOWN_TOKENS)
    return np.frombuffer(stores.read_range(f"{prefix}.bin", offset, count * dtype.itemsize), dtype).tolist()
