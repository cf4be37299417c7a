"""Read the frame of a run's documents from the receipts of its shards; see tokenization/frame.py."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pretrain_llama.errors import DataError
from pretrain_llama.names import PREFIX_SUFFIX, parse_counted
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.tokenization.engines import read_pieces
from pretrain_llama.tokenization.indexed import IndexedReader


def recorded_frame(tokenized: str, names: Iterable[str], indexed: Path, tokenizer: Path) -> dict[str, Any] | None:
    """Return the frame of a run's documents, from the first shard that records it; None where none does.

    Receipts of earlier versions say only whether there is one: what it is then stands in the .bin.

    Args:
        tokenized: folder of the shards' receipts, or its location in a store.
        names: counted names of the shards, all of one tokenizer.
        indexed: folder of their .bin and .idx files.
        tokenizer: tokenizer.model or tokenizer.json.
    """
    for name in names:
        try:
            receipt = TokenizeReceipt.read(f"{tokenized}/{parse_counted(name).shard}{PREFIX_SUFFIX}.receipt.json")
        except DataError:  # shards of another origin, or joined from several
            continue
        if receipt.frame:
            return receipt.frame
        pair = IndexedReader(indexed / name)
        if pair.tokens:
            return _framed(pair, receipt, read_pieces(tokenizer))
    return None


def _framed(pair: IndexedReader, receipt: TokenizeReceipt, pieces: dict[int, str]) -> dict[str, Any]:
    begin, end = (place // pair.dtype.itemsize for place in (pair.spans()[0][0], pair.spans()[-1][1]))
    first, last = int(pair.tokens_array[begin]), int(pair.tokens_array[end - 1])
    ids = {"bos": first if receipt.prepend_bos else None, "eos": last if receipt.append_eos else None}
    return {role: None if number is None else {"id": number, "token": pieces[number]} for role, number in ids.items()}
