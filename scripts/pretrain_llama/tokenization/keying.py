"""Make the keys of a pair that has none from its merged shard: an earlier version tokenized it. Nothing is encoded."""

from itertools import compress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pretrain_llama.errors import DataError
from pretrain_llama.files import replacing
from pretrain_llama.names import HELD_OUT_SUFFIX
from pretrain_llama.progress import Progress
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.tokenization.engines import Reference
from pretrain_llama.tokenization.held_out import Hashed, are_chosen, as_hashed
from pretrain_llama.tokenization.keys import KEYS_SUFFIX, keys_of
from pretrain_llama.tokenization.lines import ShardReader, sort_lines
from pretrain_llama.tokenization.texts import Texts
from pretrain_llama.tokenization.withdrawn import are_among

START_OVER = "delete the receipt, and run again, which tokenizes the shard anew, with its keys"


def write_keys(
    jsonl: BinaryIO,
    receipt: TokenizeReceipt,
    reference: Reference,
    text_key: str,
    max_line_bytes: int,
    held_out_fraction: float,
    prefix: Path,
    withdrawn: np.ndarray,
) -> None:
    """Write the keys of a shard's documents, those to train on and those held out.

    Args:
        jsonl: the merged shard, open.
        receipt: of its tokenizing, which says how many documents there are, and of which bytes.
        reference: engine of its tokenizer.
        text_key: key of the text in each document.
        max_line_bytes: a longer line was rejected.
        held_out_fraction: of the documents, 0 to 1.
        prefix: writes PREFIX.keys, and {shard}_held_out_document.keys beside it.
        withdrawn: (keys, 16) uint8 of documents that were called back, and are not there.

    Raises:
        DataError: the shard is not what was tokenized, or other documents are found in it.
    """
    held_out_prefix = prefix.with_name(f"{receipt.shard}{HELD_OUT_SUFFIX}")
    reader = ShardReader(jsonl, max_line_bytes)
    found = np.zeros(2, np.int64)
    with (
        Progress(receipt.jsonl_bytes, "B", f"key {receipt.shard}") as progress,
        replacing(f"{prefix}{KEYS_SUFFIX}") as keys,
        replacing(f"{held_out_prefix}{KEYS_SUFFIX}") as held_out_keys,
    ):
        for block in reader.blocks():
            if not isinstance(block, memoryview):  # a line that is too long
                progress.advance(sum(map(len, block)))
                continue
            hashed = _hashed(sort_lines(block, text_key, max_line_bytes).texts, reference)
            made = keys_of(hashed)
            is_there = ~are_among(made, withdrawn)
            made, are_out = made[is_there], are_chosen(hashed, held_out_fraction)[is_there]
            keys.write(made[~are_out].tobytes())
            held_out_keys.write(made[are_out].tobytes())
            found += [len(made) - are_out.sum(), are_out.sum()]
            progress.advance(len(block))
        if reader.digest.hexdigest() != receipt.jsonl_blake3:
            raise DataError(
                f"the text is not that which {receipt.shard} was tokenized from", where=prefix, action=START_OVER
            )
        wanted = [receipt.documents, receipt.held_out_documents]
        if found.tolist() != wanted:
            raise DataError(
                f"the text of {receipt.shard} has {found[0]:,} documents and {found[1]:,} held out, the receipt "
                f"{wanted[0]:,} and {wanted[1]:,}",
                where=prefix,
                action="give the text key, the longest line and the fraction of held-out documents as when it was "
                f"tokenized; or {START_OVER}",
            )


def _hashed(texts: Texts, reference: Reference) -> list[Hashed]:
    """Return texts as they are hashed, without those that the tokenizer gives no token, which are no documents."""
    hashed = as_hashed(texts, reference.normalize)
    blank = np.array([not bytes(text[:64]).strip() and not bytes(text).strip() for text in hashed], bool)
    if not blank.any():
        return hashed
    _, lengths = reference.encode(texts.chosen(blank))
    is_document = ~blank
    is_document[blank] = lengths > 0
    return list(compress(hashed, is_document))
