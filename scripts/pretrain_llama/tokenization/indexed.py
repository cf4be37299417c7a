"""Megatron's indexed datasets: a .bin with the tokens and an .idx that says where each sequence lies.

The .bin holds the ids of all sequences, one after the other, in the .idx's dtype, without a header. The .idx, little
endian (source: megatron/core/datasets/indexed_dataset.py of megatron-core 0.16.1):

    bytes            content
    9                b"MMIDIDX\\x00\\x00"
    8                version, 1
    1                code of the dtype: 4 int32, 8 uint16
    8                number of sequences, S
    8                number of document boundaries, D = documents + 1
    4 x S            int32, length of each sequence in tokens
    8 x S            int64, offset of each sequence in the .bin, in bytes
    8 x D            int64, index of the first sequence of each document, then S

One document is one sequence here, so for 3 documents the .idx has 34 + 3 x 4 + 3 x 8 + 4 x 8 = 102 bytes.
"""

import struct
from array import array
from pathlib import Path
from types import TracebackType

import numpy as np

from pretrain_llama.errors import DataError
from pretrain_llama.files import replacing

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
DTYPE_CODES = {np.dtype(np.int32): 4, np.dtype(np.uint16): 8}
HEADER = struct.Struct("<9sQBQQ")


class IndexedWriter:
    """Write a .bin/.idx pair, byte for byte as megatron-core's IndexedDatasetBuilder does.

    Use as a context manager: an error inside the block leaves neither file. Memory: 4 bytes a document, and 16
    more at the end.
    """

    def __init__(self, prefix: str | Path, dtype: np.dtype) -> None:
        self._dtype = dtype
        self._lengths = array("i")
        self._bin_file = replacing(f"{prefix}.bin")
        self._idx_file = replacing(f"{prefix}.idx")

    def __enter__(self) -> "IndexedWriter":
        self._bin = self._bin_file.__enter__()
        self._idx = self._idx_file.__enter__()
        return self

    def add_document(self, ids: np.ndarray) -> None:
        """Append a document; ids: (tokens,), of the writer's dtype."""
        assert ids.dtype == self._dtype, (ids.dtype, self._dtype)
        self._bin.write(ids.tobytes())
        self._lengths.append(len(ids))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_index()
        self._bin_file.__exit__(kind, error, trace)
        self._idx_file.__exit__(kind, error, trace)

    def _write_index(self) -> None:
        lengths = np.frombuffer(self._lengths, dtype=np.int32)  # (sequences,)
        ends = np.cumsum(lengths, dtype=np.int64) * self._dtype.itemsize
        offsets = np.concatenate([np.zeros(1, np.int64), ends])[: len(lengths)]
        header = HEADER.pack(MAGIC, VERSION, DTYPE_CODES[self._dtype], len(lengths), len(lengths) + 1)
        self._idx.write(header + lengths.tobytes() + offsets.tobytes())
        self._idx.write(np.arange(len(lengths) + 1, dtype=np.int64).tobytes())


class IndexedReader:
    """Read a .bin/.idx pair through memory maps.

    Attributes:
        documents, sequences, tokens: the counts.
        dtype: of the ids.
        lengths: (sequences,) int32, tokens in each.
        tokens_array: (tokens,) all ids, one sequence after the other, mapped.
    """

    def __init__(self, prefix: str | Path) -> None:
        """Read the index and check it against the .bin.

        Raises:
            DataError: a file is missing or damaged, or the two do not belong together.
        """
        self.prefix = Path(prefix)
        try:
            index = Path(f"{prefix}.idx").read_bytes()
            bin_bytes = Path(f"{prefix}.bin").stat().st_size
        except FileNotFoundError as error:
            raise self._damaged("its .bin or .idx is missing") from error
        if len(index) < HEADER.size or not index.startswith(MAGIC):
            raise self._damaged("the .idx is no Megatron index")
        _, version, code, self.sequences, boundaries = HEADER.unpack_from(index)
        dtypes = {code: dtype for dtype, code in DTYPE_CODES.items()}
        if version != VERSION or code not in dtypes:
            raise self._damaged(
                f"the .idx has version {version} and dtype code {code}; known: {VERSION}, {set(dtypes)}"
            )
        if len(index) != HEADER.size + 12 * self.sequences + 8 * boundaries:
            raise self._damaged(f"the .idx has {len(index)} bytes, which do not fit its {self.sequences} sequences")
        self.dtype = dtypes[code]
        self.documents = boundaries - 1
        self.lengths = np.frombuffer(index, np.int32, self.sequences, HEADER.size)
        self.tokens = int(self.lengths.sum(dtype=np.int64))
        if bin_bytes != self.tokens * self.dtype.itemsize:
            raise self._damaged(f"the .bin has {bin_bytes} bytes, the .idx speaks of {self.tokens} {self.dtype} tokens")

    @property
    def tokens_array(self) -> np.ndarray:
        """All ids, mapped: (tokens,)."""
        if not self.tokens:
            return np.empty(0, self.dtype)
        return np.memmap(f"{self.prefix}.bin", self.dtype, "r")

    def _damaged(self, problem: str) -> DataError:
        return DataError(problem, where=self.prefix, action="delete both files and run again, which makes them anew")
