"""Tokenize one jsonl shard: every line becomes a document or is rejected with a reason."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pretrain_llama import files
from pretrain_llama.errors import DataError
from pretrain_llama.progress import Progress
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.tokenization.documents import Rejected, text_of
from pretrain_llama.tokenization.indexed import IndexedWriter
from pretrain_llama.tokenization.tokenizer import SentencePieceEngine

BATCH_LINES = 1024


def tokenize(
    engine: SentencePieceEngine,
    receipt: TokenizeReceipt,
    jsonl: Path,
    text_key: str,
    prefix: Path,
    rejected_path: Path,
    max_rejected_fraction: float,
) -> None:
    """Write a shard's .bin and .idx, and its rejected lines, whole, with their line numbers and reasons.

    Args:
        engine: what encodes the texts.
        receipt: of the shard; the counts are added to it.
        jsonl: the merged shard; one document a line.
        text_key: key of the text in each document.
        prefix: path of the pair, without .bin and .idx.
        rejected_path: quarantine, jsonl of {"line", "reason", "text"}; empty where nothing is rejected.
        max_rejected_fraction: fraction of the lines, 0 to 1, above which the shard fails.

    Raises:
        DataError: more lines than allowed are rejected; no pair is left then, but the quarantine is.
    """
    reasons: Counter[str] = Counter()
    with (
        IndexedWriter(prefix, engine.dtype) as writer,
        Progress(jsonl.stat().st_size, "B", f"tokenize {receipt.shard}") as progress,
    ):
        with open(jsonl, "rb") as lines, files.replacing(rejected_path, "w") as quarantine:
            while batch := list(islice(lines, BATCH_LINES)):
                texts = list(_accepted(batch, receipt.lines_read, text_key, reasons, quarantine))
                for ids in engine.encode(texts):
                    writer.add_document(ids)
                    receipt.tokens += len(ids)
                receipt.lines_read += len(batch)
                receipt.documents += len(texts)
                receipt.text_bytes += sum(len(text.encode()) for text in texts)
                progress.advance(sum(map(len, batch)))
        receipt.sequences = receipt.documents
        receipt.rejected = dict(sorted(reasons.items()))
        _check_rejected(receipt, max_rejected_fraction, rejected_path)


def _accepted(batch: list[bytes], lines_before: int, text_key: str, reasons: Counter, quarantine) -> Iterator[str]:
    for number, line in enumerate(batch, start=lines_before + 1):
        try:
            yield text_of(line, text_key)
        except Rejected as reason:
            reasons[str(reason)] += 1
            text = line.decode("utf-8", errors="backslashreplace").rstrip("\n")
            quarantine.write(json.dumps({"line": number, "reason": str(reason), "text": text}) + "\n")


def _check_rejected(receipt: TokenizeReceipt, max_rejected_fraction: float, rejected_path: Path) -> None:
    rejected = sum(receipt.rejected.values())
    if rejected > max_rejected_fraction * receipt.lines_read:
        reasons = ", ".join(f"{count} {reason}" for reason, count in receipt.rejected.items())
        raise DataError(
            f"{rejected} of {receipt.lines_read} lines of {receipt.shard} are rejected: {reasons}; "
            f"max_rejected_fraction allows {max_rejected_fraction}",
            where=rejected_path,
            action="look at the lines there; correct text_key in config/corpora.tsv, have the vendor's file mended, "
            "or raise max_rejected_fraction in config/config.yaml",
        )
