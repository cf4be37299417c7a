"""Tokenize one jsonl shard: every line becomes a document, is blank, or is rejected with a reason.

One thread reads blocks of lines and writes what became of them, in order; the others each parse, encode and frame a
block at a time. Memory is bounded by a few blocks a thread and the longest line allowed.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, compress
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from blake3 import blake3

from pretrain_llama.files import replacing
from pretrain_llama.names import HELD_OUT_SUFFIX
from pretrain_llama.progress import Progress
from pretrain_llama.receipts import MergeReceipt, TokenizeReceipt
from pretrain_llama.tokenization.engines import Encoded
from pretrain_llama.tokenization.frame import Frame
from pretrain_llama.tokenization.held_out import are_chosen, as_hashed, divide
from pretrain_llama.tokenization.indexed import IndexedWriter, writing_indexed
from pretrain_llama.tokenization.keys import KEY_BYTES, KEYS_SUFFIX, keys_of
from pretrain_llama.tokenization.lines import Batch, ShardReader, sort_lines
from pretrain_llama.tokenization.normalizing import Normalize
from pretrain_llama.tokenization.origins import Origins
from pretrain_llama.tokenization.quarantine import LimitsPassed, Quarantine, RejectionLimits
from pretrain_llama.tokenization.texts import Texts
from pretrain_llama.tokenization.withdrawn import are_among


class Engine(Protocol):
    """What encodes: an engine of engines.py, or the certified one of parity.py.

    Attributes:
        at_once: number of threads that may encode at once.
        normalize: what the tokenizer makes of a text first; None where that is nothing.
    """

    normalize: Normalize | None
    name: str
    at_once: int

    def encode(self, texts: Texts) -> Encoded:
        """Return the ids of texts."""


@dataclass(frozen=True)
class Tokenized:
    """A tokenized block of lines: its documents, those to train on and those held out, framed.

    `keys` are of both, (documents, 16) uint8, and `are_out` says which are held out. `with_new_pieces` counts those of
    both with an id that a promise rules out; `withdrawn`, documents of the batch that were called back, is of neither.
    """

    batch: Batch
    trained: Encoded
    held_out: Encoded
    keys: np.ndarray
    are_out: np.ndarray
    trained_text_bytes: int
    with_new_pieces: int
    withdrawn: int


def tokenize(
    engine: Engine,
    frame: Frame,
    receipt: TokenizeReceipt,
    merged: MergeReceipt,
    jsonl: Path,
    text_key: str,
    max_line_bytes: int,
    limits: RejectionLimits,
    held_out_fraction: float,
    prefix: Path,
    first_new_id: int | None = None,
    withdrawn: np.ndarray | None = None,
) -> None:
    """Write a shard's .bin and .idx, the same for what is held out, and its rejected lines.

    Args:
        engine: what encodes the texts.
        frame: what is put around their ids.
        receipt: of the shard; the counts are added to it.
        merged: receipt of the shard's merge.
        jsonl: the merged shard; one document a line.
        text_key: key of the text in each document.
        max_line_bytes: a longer line is rejected.
        limits: of the number of rejected lines.
        held_out_fraction: of the documents, 0 to 1.
        prefix: writes PREFIX.bin, .idx and .keys, {shard}_held_out_document.bin, .idx and .keys beside them, and
            PREFIX.rejected.jsonl, the last also where the limits are passed.
        first_new_id: documents with this id or one above it are counted; None counts none.
        withdrawn: (keys, 16) uint8 of documents that were called back, and are left out; None for none.

    Raises:
        DataError: more lines are rejected than allowed, or the shard is not what was merged.
        EnginesDiffer: by a gated engine.
    """
    receipt.engine = engine.name
    receipt.with_new_pieces = None if first_new_id is None else 0
    rejected_path = f"{prefix}.rejected.jsonl"
    no_keys = np.empty((0, KEY_BYTES), np.uint8)
    held_out_prefix = prefix.with_name(f"{receipt.shard}{HELD_OUT_SUFFIX}")
    with writing_indexed(prefix, frame.dtype) as trained, writing_indexed(held_out_prefix, frame.dtype) as held_out:
        with (
            Progress(merged.bytes, "B", f"tokenize {receipt.shard}") as progress,
            open(jsonl, "rb") as file,
            replacing(rejected_path, "w") as rejected,
            replacing(f"{prefix}{KEYS_SUFFIX}") as keys,
            replacing(f"{held_out_prefix}{KEYS_SUFFIX}") as held_out_keys,
        ):
            quarantine = Quarantine(rejected, receipt.shard, limits, jsonl.stat().st_size, merged.lines)
            reader = ShardReader(file, max_line_bytes)
            written = Written(trained, held_out, keys, held_out_keys)
            outcome = Outcome(written, quarantine, Origins(merged), receipt, progress)

            def encode(block: memoryview) -> Tokenized:
                batch = sort_lines(block, text_key, max_line_bytes)
                ids, lengths = engine.encode(batch.texts)
                if not lengths.all():  # a normalizer may leave nothing of a text
                    batch, lengths = batch.without_empty(block, lengths == 0), lengths[lengths > 0]
                hashed = as_hashed(batch.texts, engine.normalize)
                keys, text_bytes = keys_of(hashed), batch.texts.lengths
                are_gone = are_among(keys, no_keys if withdrawn is None else withdrawn)
                if are_gone.any():
                    (ids, lengths), _ = divide((ids, lengths), are_gone)
                    hashed = list(compress(hashed, ~are_gone))
                    keys, text_bytes = keys[~are_gone], text_bytes[~are_gone]
                are_out = are_chosen(hashed, held_out_fraction)
                trained, out = divide(frame.around((ids, lengths)), are_out)
                new = _count_new(ids, lengths, first_new_id)
                of_trained = int(text_bytes[~are_out].sum())
                return Tokenized(batch, trained, out, keys, are_out, of_trained, new, int(are_gone.sum()))

            passed = _encode_all(reader, encode, engine.at_once, outcome)
        if passed:  # now that its rejected lines are written
            raise passed
        receipt.sequences = receipt.documents
        receipt.rejected = dict(sorted(quarantine.reasons.items()))
        receipt.bin_blake3 = outcome.digest.hexdigest()
        receipt.jsonl_bytes = jsonl.stat().st_size
        receipt.jsonl_blake3 = reader.digest.hexdigest()
        receipt.check_handover(merged, jsonl)
        documents = receipt.documents + receipt.held_out_documents
        quarantine.check(documents, receipt.lines)


@dataclass(frozen=True)
class Written:
    """What a shard's documents are written to: the pairs to train on and held out, and the keys of each."""

    trained: IndexedWriter
    held_out: IndexedWriter
    keys: IO[bytes]
    held_out_keys: IO[bytes]

    def add(self, tokenized: Tokenized) -> None:
        """Write the documents of a block."""
        self.trained.add_documents(*tokenized.trained)
        self.held_out.add_documents(*tokenized.held_out)
        self.keys.write(tokenized.keys[~tokenized.are_out].tobytes())
        self.held_out_keys.write(tokenized.keys[tokenized.are_out].tobytes())


class Outcome:
    """Writes and counts what became of a shard's lines, in their order.

    Attributes:
        digest: BLAKE3 of the .bin so far, of what is trained on.
    """

    def __init__(
        self,
        written: Written,
        quarantine: Quarantine,
        origins: Origins,
        receipt: TokenizeReceipt,
        progress: Progress,
    ) -> None:
        self.digest = blake3()
        self._written = written
        self._quarantine, self._origins = quarantine, origins
        self._receipt, self._progress = receipt, progress
        self._bytes = 0

    def take(self, block: memoryview, tokenized: Tokenized) -> None:
        """Take the next block."""
        batch, (ids, lengths) = tokenized.batch, tokenized.trained
        self._written.add(tokenized)
        self.digest.update(ids.view(np.uint8).data)
        self._origins.pass_block(self._bytes, block, self._receipt.lines)
        for rejected in batch.rejected:
            origin = self._origins.of(self._bytes + rejected.start, self._receipt.lines + rejected.number)
            self._quarantine.reject(*origin, rejected.reason, [rejected.line])
        self._bytes += len(block)
        self._receipt.lines += batch.lines
        self._receipt.blank += batch.blank
        self._receipt.withdrawn += tokenized.withdrawn
        self._receipt.documents += len(lengths)
        self._receipt.text_bytes += tokenized.trained_text_bytes
        self._receipt.tokens += len(ids)
        if self._receipt.with_new_pieces is not None:
            self._receipt.with_new_pieces += tokenized.with_new_pieces
        self._receipt.held_out_documents += len(tokenized.held_out[1])
        self._receipt.held_out_tokens += len(tokenized.held_out[0])
        self._progress.advance(len(block))

    def take_long_line(self, pieces: Iterable[bytes]) -> None:
        """Take a line that is too long, piece by piece."""
        pieces = iter(pieces)
        first = next(pieces)
        self._origins.pass_block(self._bytes, memoryview(first), self._receipt.lines)
        self._receipt.lines += 1
        origin = self._origins.of(self._bytes, self._receipt.lines)
        self._quarantine.reject(*origin, "too_long", self._counted(chain([first], pieces)))

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._bytes += len(piece)
            self._progress.advance(len(piece))
            yield piece.rstrip(b"\r\n") if piece.endswith(b"\n") else piece


def _count_new(ids: np.ndarray, lengths: np.ndarray, first: int | None) -> int:
    """Return the number of documents, none of them empty, with an id from `first` on."""
    if first is None or not len(lengths):
        return 0
    return int(np.count_nonzero(np.maximum.reduceat(ids, np.cumsum(lengths) - lengths) >= first))


def _encode_all(
    reader: ShardReader, encode: Callable[[memoryview], Tokenized], at_once: int, outcome: Outcome
) -> LimitsPassed | None:
    """Encode a shard, up to where so much of it is rejected that the rest does not matter; return that error."""
    in_flight: deque[tuple[memoryview, Future[Tokenized]]] = deque()

    def take_until(left: int) -> None:
        while len(in_flight) > left:
            block, tokenized = in_flight.popleft()
            outcome.take(block, tokenized.result())

    try:
        with ThreadPoolExecutor(at_once) as threads:
            for block in reader.blocks():
                if isinstance(block, memoryview):
                    take_until(at_once)
                    in_flight.append((block, threads.submit(encode, block)))
                else:
                    take_until(0)
                    outcome.take_long_line(block)
            take_until(0)
    except LimitsPassed as passed:
        return passed
    return None
