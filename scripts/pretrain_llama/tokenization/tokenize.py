"""Tokenize one jsonl shard: every line becomes a document, or is blank, or is rejected with a reason.

Reading, encoding and writing overlap: while a batch is encoded, the next is read and parsed, and the one before is
written. Memory is bounded by a few batches and the longest line allowed.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from blake3 import blake3

from pretrain_llama.errors import OperatorError
from pretrain_llama.files import replacing
from pretrain_llama.progress import Progress
from pretrain_llama.receipts import MergeReceipt, TokenizeReceipt
from pretrain_llama.tokenization.engines import Encoded
from pretrain_llama.tokenization.indexed import IndexedWriter, dtype_for, writing_indexed
from pretrain_llama.tokenization.lines import ShardReader
from pretrain_llama.tokenization.quarantine import Quarantine, RejectionLimits


class Engine(Protocol):
    """What encodes: an engine of engines.py, or the gated one of parity.py."""

    name: str

    def encode(self, texts: list[bytes]) -> Encoded:
        """Return the ids of UTF-8 texts."""


@dataclass(frozen=True)
class Frame:
    """Ids that are put before (`head`) and after (`tail`) each document's, and the number of ids that there are."""

    head: list[int]
    tail: list[int]
    vocab_size: int

    @property
    def dtype(self) -> np.dtype:
        """Of the .bin."""
        return dtype_for(self.vocab_size)

    def around(self, encoded: Encoded) -> Encoded:
        """Return documents framed, in the dtype of the .bin.

        Raises:
            OperatorError: an id is not in the vocabulary.
        """
        ids, lengths = encoded
        if len(ids) and ids.max() >= self.vocab_size:
            raise OperatorError(
                f"id {ids.max()} in a vocabulary of {self.vocab_size}",
                where="the engine that encodes",
                action="report it, with the tokenizer's name and version",
            )
        framed_lengths = lengths + len(self.head) + len(self.tail)
        ends = np.cumsum(framed_lengths)
        places = [(ends - framed_lengths + at, token) for at, token in enumerate(self.head)]
        places += [(ends - len(self.tail) + at, token) for at, token in enumerate(self.tail)]
        framed = np.empty(framed_lengths.sum(), self.dtype)
        is_text = np.ones(len(framed), bool)
        for place, token in places:
            framed[place] = token
            is_text[place] = False
        framed[is_text] = ids
        return framed, framed_lengths


def tokenize(
    engine: Engine,
    frame: Frame,
    receipt: TokenizeReceipt,
    merged: MergeReceipt,
    jsonl: Path,
    text_key: str,
    max_line_bytes: int,
    limits: RejectionLimits,
    prefix: Path,
) -> None:
    """Write a shard's .bin and .idx, and its rejected lines.

    Args:
        engine: what encodes the texts.
        frame: what is put around their ids.
        receipt: of the shard; the counts are added to it.
        merged: receipt of the shard's merge.
        jsonl: the merged shard; one document a line.
        text_key: key of the text in each document.
        max_line_bytes: a longer line is rejected.
        limits: of the number of rejected lines.
        prefix: writes PREFIX.bin, PREFIX.idx and PREFIX.rejected.jsonl, the last also where the limits are passed.

    Raises:
        DataError: more lines are rejected than allowed, or the shard is not what was merged.
        EnginesDiffer: by a gated engine.
    """
    receipt.engine = engine.name
    rejected_path = f"{prefix}.rejected.jsonl"
    with writing_indexed(prefix, frame.dtype) as writer:
        with (
            Progress(merged.bytes, "B", f"tokenize {receipt.shard}") as progress,
            open(jsonl, "rb") as file,
            replacing(rejected_path, "w") as rejected,
        ):
            quarantine = Quarantine(rejected, rejected_path, merged)
            reader = ShardReader(file, text_key, max_line_bytes, quarantine)
            _encode_all(engine, frame, reader, writer, receipt, progress)
        receipt.rejected = dict(sorted(quarantine.reasons.items()))
        receipt.check_handover(merged, jsonl)
        quarantine.check(limits, receipt.documents, receipt.lines)


def _encode_all(
    engine: Engine,
    frame: Frame,
    reader: ShardReader,
    writer: IndexedWriter,
    receipt: TokenizeReceipt,
    progress: Progress,
) -> None:
    digest = blake3()

    def write(encoded: Encoded) -> None:
        ids, lengths = frame.around(encoded)
        writer.add_documents(ids, lengths)
        digest.update(ids.view(np.uint8).data)
        receipt.tokens += len(ids)

    batches = reader.batches()
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing:
        upcoming = reading.submit(next, batches, None)
        written: Future[None] = writing.submit(lambda: None)
        while batch := upcoming.result():
            upcoming = reading.submit(next, batches, None)
            encoded = engine.encode(batch.texts)
            written.result()
            written = writing.submit(write, encoded)
            receipt.lines += batch.lines
            receipt.blank += batch.blank
            receipt.documents += len(batch.texts)
            receipt.text_bytes += sum(map(len, batch.texts))
            progress.advance(batch.bytes)
        written.result()
    receipt.sequences = receipt.documents
    receipt.bin_blake3 = digest.hexdigest()
    receipt.jsonl_blake3 = reader.digest.hexdigest()
