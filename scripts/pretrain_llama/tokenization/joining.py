"""Join .bin/.idx pairs into one, byte for byte as megatron-core's IndexedDatasetBuilder.add_index does.

The tokens are copied file to file; no token and no document becomes a Python object.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from pretrain_llama.errors import DataError
from pretrain_llama.files import copy_block, replacing
from pretrain_llama.names import Counts
from pretrain_llama.progress import Progress
from pretrain_llama.tokenization.indexed import DTYPE_CODES, HEADER, MAGIC, VERSION, IndexedReader

COPIED_AT_ONCE = 1 << 26  # bytes


def joined_counts(prefixes: list[Path]) -> Counts:
    """Return the counts that the pairs have together.

    Raises:
        DataError: a pair is damaged, or they have different dtypes.
    """
    first = IndexedReader(prefixes[0])
    documents = sequences = tokens = 0
    for pair in map(IndexedReader, prefixes):
        if pair.dtype != first.dtype:
            raise DataError(
                f"{first.prefix.name} holds {first.dtype} ids, {pair.prefix.name} {pair.dtype}",
                where=pair.prefix,
                action="join pairs of one tokenizer: ids mean other text in the next one",
            )
        documents, sequences, tokens = documents + pair.documents, sequences + pair.sequences, tokens + pair.tokens
    return Counts(documents, sequences, tokens)


def join(prefixes: list[Path], output: Path) -> None:
    """Write the pairs, in this order, as one; both files appear when they are whole.

    Args:
        prefixes: of the pairs, without .bin and .idx.
        output: prefix of the pair to write.

    Raises:
        DataError: as `joined_counts`.
    """
    counts = joined_counts(prefixes)
    dtype = IndexedReader(prefixes[0]).dtype
    with replacing(f"{output}.idx") as idx, replacing(f"{output}.bin", buffering=0) as tokens:
        idx.write(HEADER.pack(MAGIC, VERSION, DTYPE_CODES[dtype], counts.sequences, counts.documents + 1))
        for part in _index(prefixes, dtype):
            idx.write(part.data)
        with Progress(counts.tokens * dtype.itemsize, "B", f"join {output.name}") as progress:
            for prefix in prefixes:
                copy_spans(f"{prefix}.bin", IndexedReader(prefix).spans(), tokens, progress.advance)


def copy_spans(
    path: str | Path, spans: list[tuple[int, int]], target: IO[bytes], advance: Callable[[int], None]
) -> None:
    """Append stretches of a file, in bytes, to an unbuffered one; advance: told the bytes of each copy."""
    with open(path, "rb", buffering=0) as source:
        for start, stop in spans:
            source.seek(start)
            while start < stop and (copied := copy_block(source, target, min(COPIED_AT_ONCE, stop - start))):
                start += copied
                advance(copied)


def _index(prefixes: list[Path], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Yield what follows the header of an .idx, a part for each pair: its lengths, its offsets, its boundaries.

    A pair is opened anew for each, so that the open files do not grow with their number.
    """
    for pair in map(IndexedReader, prefixes):
        yield pair.lengths
    start = 0
    for pair in map(IndexedReader, prefixes):
        # Not its own offsets: the builder takes them from the lengths, too.
        ends = start + np.cumsum(pair.lengths, dtype=np.int64) * dtype.itemsize
        yield np.concatenate([[start], ends[:-1]]).astype(np.int64)[: len(ends)]
        start += pair.tokens * dtype.itemsize
    yield np.zeros(1, np.int64)
    sequences = 0
    for pair in map(IndexedReader, prefixes):
        yield sequences + pair.boundaries[1:]
        sequences += pair.sequences
