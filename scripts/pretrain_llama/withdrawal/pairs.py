"""Make a tokenized shard without some of its documents: no byte of them is left in it.

New files are made in a folder beside, whole, and only then take the places of the old ones. Killed at any moment, the
same call goes on: before the file `ready` is there it begins again, after that it only renames.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from blake3 import blake3

from pretrain_llama.duplicates.record import DROPPED_SUFFIX
from pretrain_llama.files import check_space
from pretrain_llama.names import HELD_OUT_SUFFIX, PREFIX_SUFFIX
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.tokenization.indexed import IndexedReader, write_index
from pretrain_llama.tokenization.joining import copy_spans
from pretrain_llama.tokenization.keys import KEYS_SUFFIX, read_keys
from pretrain_llama.tokenization.withdrawn import are_among

READY, DONE = "ready", "done"
SUFFIXES = (PREFIX_SUFFIX, HELD_OUT_SUFFIX)


def documents_with(prefix: str | Path, documents: int, keys: np.ndarray) -> np.ndarray:
    """Return the numbers of a pair's documents with some keys, ascending; DataError: it has no keys."""
    return np.flatnonzero(are_among(read_keys(prefix, documents), keys))


def take_out(tokenized: Path, shard: str, keys: np.ndarray, beside: Path) -> None:
    """Make a shard's pairs, keys and receipt without the documents of some keys.

    Args:
        tokenized: folder of a tokenizer's pairs.
        shard: its name.
        keys: (keys, 16) uint8.
        beside: folder for the new files, on the same disk; its file `done` says that all is done.
    """
    if (beside / DONE).exists():
        return
    if not (beside / READY).exists():
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        _make(tokenized, shard, keys, beside)
        (beside / READY).touch()
    for path in sorted(beside.iterdir()):
        if path.name != READY:
            path.rename(tokenized / path.name)
    (tokenized / f"{shard}{PREFIX_SUFFIX}{DROPPED_SUFFIX}").unlink(missing_ok=True)  # its numbers are others now
    (beside / DONE).touch()


def _make(tokenized: Path, shard: str, keys: np.ndarray, beside: Path) -> None:
    name = f"{shard}{PREFIX_SUFFIX}.receipt.json"
    receipt = TokenizeReceipt.read(tokenized / name)
    made = [_without(tokenized / f"{shard}{suffix}", keys, beside) for suffix in SUFFIXES]
    (documents, tokens), (held_out, held_out_tokens) = made
    left = receipt.tokens - tokens
    new = replace(
        receipt,
        documents=receipt.documents - documents,
        sequences=receipt.sequences - documents,
        tokens=left,
        held_out_documents=receipt.held_out_documents - held_out,
        held_out_tokens=receipt.held_out_tokens - held_out_tokens,
        withdrawn=receipt.withdrawn + documents + held_out,
        # The text is not read: as many bytes a token as before.
        text_bytes=round(receipt.text_bytes * left / receipt.tokens) if receipt.tokens else 0,
        bin_blake3=_hash(beside / f"{shard}{PREFIX_SUFFIX}.bin"),
    )
    if new.with_new_pieces is not None:
        new.with_new_pieces = min(new.with_new_pieces, new.documents + new.held_out_documents)
    new.write(beside / name)


def _without(prefix: Path, keys: np.ndarray, beside: Path) -> tuple[int, int]:
    """Write a pair, and its keys, without the documents of some keys; return how many those are, and their tokens."""
    pair = IndexedReader(prefix)
    found = read_keys(prefix, pair.documents)
    kept = ~are_among(found, keys)
    lengths = np.array(pair.lengths)
    check_space(beside, int(lengths[kept].sum(dtype=np.int64)) * pair.dtype.itemsize)
    with open(beside / f"{prefix.name}.bin", "wb", buffering=0) as target:
        copy_spans(f"{prefix}.bin", pair.spans(kept), target, lambda _: None)
    with open(beside / f"{prefix.name}.idx", "wb") as index:
        write_index(index, lengths[kept], pair.dtype)
    (beside / f"{prefix.name}{KEYS_SUFFIX}").write_bytes(found[kept].tobytes())
    return int(np.count_nonzero(~kept)), int(lengths[~kept].sum(dtype=np.int64))


def _hash(path: Path) -> str:
    digest = blake3(max_threads=blake3.AUTO)
    return digest.update_mmap(path).hexdigest() if path.stat().st_size else digest.hexdigest()
