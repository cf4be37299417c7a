"""Megatron's indexed datasets: a .bin with the tokens and an .idx that says where each sequence lies.

The .bin holds the ids of all sequences, one after the other, in the .idx's dtype, without a header. The .idx, little
endian (source: megatron/core/datasets/indexed_dataset.py of megatron-core 0.19.2):

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

A pair without some of its documents is an .idx that leaves them out, beside the whole .bin (`kept_index`): there are
gaps between its sequences. Only a pair whose name counts what its .idx has may be such a pair.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from pretrain_llama import stores
from pretrain_llama.errors import DataError
from pretrain_llama.files import replacing
from pretrain_llama.names import Counts, find_counts

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
DTYPE_CODES: dict[np.dtype, int] = {np.dtype(np.int32): 4, np.dtype(np.uint16): 8}
HEADER = struct.Struct("<9sQBQQ")
CHUNK = 1 << 20


def dtype_for(vocab_size: int) -> np.dtype:
    """Return the smallest dtype that holds every id, as Megatron chooses it: uint16 below 65,500 ids, else int32."""
    return np.dtype(np.uint16 if vocab_size < 65500 else np.int32)


def prefix_of(path: str | Path) -> Path:
    """Return the prefix of a pair, given as PREFIX, PREFIX.bin or PREFIX.idx."""
    path = Path(path)
    return path.with_suffix("") if path.suffix in (".bin", ".idx") else path


@contextmanager
def writing_indexed(prefix: str | Path, dtype: np.dtype) -> Iterator["IndexedWriter"]:
    """Write a .bin/.idx pair; both appear when the block ends, neither if it raises."""
    with replacing(f"{prefix}.idx", "w+b") as idx, replacing(f"{prefix}.bin") as bin_file:
        writer = IndexedWriter(bin_file, idx, dtype)
        yield writer
        writer.finish()


class IndexedWriter:
    """Write a pair byte for byte as megatron-core's IndexedDatasetBuilder does.

    The memory that it takes does not grow with the number of documents: their lengths are read back from the .idx,
    which has to be open for both, to write what follows them.
    """

    def __init__(self, bin_file: IO[bytes], idx: IO[bytes], dtype: np.dtype) -> None:
        self._bin, self._idx, self._dtype = bin_file, idx, dtype
        self._documents = 0
        self._idx.write(bytes(HEADER.size))

    def add_documents(self, ids: np.ndarray, lengths: np.ndarray) -> None:
        """Append documents; ids: (tokens of all,), of the writer's dtype; lengths: (documents,), their tokens."""
        assert ids.dtype == self._dtype and len(ids) == lengths.sum(), (ids.dtype, len(ids), lengths.sum())
        self._bin.write(ids.data)
        self._idx.write(lengths.astype(np.int32).data)
        self._documents += len(lengths)

    def finish(self) -> None:
        """Write the rest of the .idx."""
        end = 0
        for first in range(0, self._documents, CHUNK):
            self._idx.seek(HEADER.size + 4 * first)
            lengths = np.frombuffer(self._idx.read(4 * min(CHUNK, self._documents - first)), np.int32)
            ends = end + np.cumsum(lengths, dtype=np.int64) * self._dtype.itemsize
            offsets = np.concatenate([[end], ends[:-1]])
            self._idx.seek(HEADER.size + 4 * self._documents + 8 * first)
            self._idx.write(offsets.data)
            end = int(ends[-1])
        self._idx.seek(HEADER.size + 12 * self._documents)
        for first in range(0, self._documents + 1, CHUNK):
            self._idx.write(np.arange(first, min(first + CHUNK, self._documents + 1), dtype=np.int64).data)
        self._idx.seek(0)
        code = DTYPE_CODES[self._dtype]
        self._idx.write(HEADER.pack(MAGIC, VERSION, code, self._documents, self._documents + 1))


def read_counts(prefix: str | Path) -> Counts:
    """Return the counts of a pair, from the head of its .idx and the size of its .bin.

    Where its name counts fewer tokens than the .bin holds, they are summed from the .idx.

    Args:
        prefix: of a pair of files, or of blobs.

    Raises:
        DataError: a file is missing, or the .idx is none.
    """
    header = stores.read_range(f"{prefix}.idx", 0, HEADER.size)
    dtype, sequences, boundaries = _parse_header(header, prefix)
    tokens = stores.size_bytes(f"{prefix}.bin") // dtype.itemsize
    named = find_counts(Path(prefix).name)
    if named and named.tokens < tokens:
        lengths = stores.read_range(f"{prefix}.idx", HEADER.size, 4 * sequences)
        tokens = int(np.frombuffer(lengths, np.int32).sum(dtype=np.int64))
    return Counts(boundaries - 1, sequences, tokens)


def read_lengths(prefix: str | Path, sequences: int) -> np.ndarray:
    """Return the tokens in each of a pair's sequences, (sequences,) int32; fewer where the .idx is cut short."""
    return np.fromfile(f"{prefix}.idx", np.int32, sequences, offset=HEADER.size)


def write_index(index: IO[bytes], lengths: np.ndarray, dtype: np.dtype) -> None:
    """Write an .idx of a pair whose documents follow each other; lengths: (documents,), their tokens."""
    ends = np.cumsum(lengths, dtype=np.int64) * dtype.itemsize
    index.write(HEADER.pack(MAGIC, VERSION, DTYPE_CODES[dtype], len(lengths), len(lengths) + 1))
    index.write(lengths.astype(np.int32).tobytes())
    index.write((ends - lengths.astype(np.int64) * dtype.itemsize).tobytes())
    index.write(np.arange(len(lengths) + 1, dtype=np.int64).tobytes())


def kept_index(index: bytes, left_out: np.ndarray, where: str | Path) -> bytes:
    """Return the .idx of a pair without some documents, for the same .bin.

    Args:
        index: the pair's .idx, of one sequence a document.
        left_out: (left out,) numbers of documents, from 0.
        where: the pair, for the message.

    Raises:
        DataError: the .idx is none, has several sequences a document, or not all of the documents.
    """
    dtype, sequences, boundaries = _parse_header(index[: HEADER.size], where)
    if len(index) != HEADER.size + 12 * sequences + 8 * boundaries or boundaries != sequences + 1:
        raise _damaged(f"the .idx has {len(index)} bytes, {sequences} sequences and {boundaries - 1} documents", where)
    if len(left_out) and int(left_out.max()) >= sequences:
        raise _damaged(f"document {int(left_out.max())} of {sequences} is to be left out", where)
    kept = np.ones(sequences, bool)
    kept[left_out] = False
    lengths = np.frombuffer(index, np.int32, sequences, HEADER.size)[kept]
    offsets = np.frombuffer(index, np.int64, sequences, HEADER.size + 4 * sequences)[kept]
    head = HEADER.pack(MAGIC, VERSION, DTYPE_CODES[dtype], len(lengths), len(lengths) + 1)
    return b"".join([head, lengths.tobytes(), offsets.tobytes(), np.arange(len(lengths) + 1, dtype=np.int64).tobytes()])


def _parse_header(header: bytes, where: str | Path) -> tuple[np.dtype, int, int]:
    """Return dtype, sequences and document boundaries."""
    if len(header) < HEADER.size or not header.startswith(MAGIC):
        raise _damaged("the .idx is no Megatron index", where)
    _, version, code, sequences, boundaries = HEADER.unpack(header)
    dtypes = {number: dtype for dtype, number in DTYPE_CODES.items()}
    if version != VERSION or code not in dtypes:
        known = ", ".join(f"{number} ({dtype})" for number, dtype in sorted(dtypes.items()))
        raise _damaged(
            f"the .idx has version {version} and dtype code {code}; known: version {VERSION}, {known}", where
        )
    return dtypes[code], sequences, boundaries


def _damaged(problem: str, where: str | Path) -> DataError:
    return DataError(problem, where=where, action="delete both files and run again, which makes them anew")


class IndexedReader:
    """Read a .bin/.idx pair through memory maps.

    Attributes:
        documents, sequences, tokens: the counts.
        dtype: of the ids.
        lengths: (sequences,) int32, tokens in each, mapped.
        offsets: (sequences,) int64, where each lies in the .bin, in bytes, mapped.
        boundaries: (documents + 1,) int64, index of each document's first sequence, mapped.
        tokens_array: (tokens,) all ids, one sequence after the other, mapped.
    """

    def __init__(self, prefix: str | Path) -> None:
        """Read the index and check its size, and that of the .bin.

        Raises:
            DataError: a file is missing or damaged, or the two do not belong together.
        """
        self.prefix = Path(prefix)
        try:
            with open(f"{prefix}.idx", "rb") as index:
                header = index.read(HEADER.size)
            idx_bytes, bin_bytes = (Path(f"{prefix}{suffix}").stat().st_size for suffix in (".idx", ".bin"))
        except FileNotFoundError as error:
            if not any(Path(f"{prefix}{suffix}").exists() for suffix in (".bin", ".idx")):
                raise DataError(
                    "no .bin/.idx pair", where=prefix, action="correct the path, or run again, which makes both files"
                ) from error
            raise _damaged("its .bin or .idx is missing", prefix) from error
        self.dtype, self.sequences, boundaries = _parse_header(header, prefix)
        if idx_bytes != HEADER.size + 12 * self.sequences + 8 * boundaries:
            raise _damaged(f"the .idx has {idx_bytes} bytes, which do not fit its {self.sequences} sequences", prefix)
        self.documents = boundaries - 1
        self.lengths = self._map(np.int32, HEADER.size, self.sequences)
        self.offsets = self._map(np.int64, HEADER.size + 4 * self.sequences, self.sequences)
        self.boundaries = self._map(np.int64, HEADER.size + 12 * self.sequences, boundaries)
        self.tokens = int(self.lengths.sum(dtype=np.int64))
        if bin_bytes != self.tokens * self.dtype.itemsize and not self._has_gaps(bin_bytes):
            raise _damaged(
                f"the .bin has {bin_bytes} bytes, the .idx speaks of {self.tokens} {self.dtype} tokens", prefix
            )

    def _has_gaps(self, bin_bytes: int) -> bool:
        """Say whether some documents are left out: the name counts the others, and they are in order in the .bin."""
        if find_counts(Path(self.prefix).name) != self.counts:
            return False
        ends = self.offsets + np.asarray(self.lengths, np.int64) * self.dtype.itemsize
        in_order = (self.offsets[1:] >= ends[:-1]).all() and (self.offsets >= 0).all()
        return bool(in_order) and (not self.sequences or int(ends[-1]) <= bin_bytes)

    def spans(self, kept: np.ndarray | None = None) -> list[tuple[int, int]]:
        """Return the stretches of the .bin that its sequences fill without a gap, in bytes, in order.

        Args:
            kept: (sequences,) bool, which sequences count; None for all.
        """
        chosen = slice(None) if kept is None else kept
        begins, lengths = np.asarray(self.offsets)[chosen], np.asarray(self.lengths, np.int64)[chosen]
        if not len(begins):
            return []
        ends = begins + lengths * self.dtype.itemsize
        gaps = np.flatnonzero(begins[1:] != ends[:-1]) + 1
        firsts, lasts = np.concatenate([[0], gaps]), np.concatenate([gaps, [len(begins)]]) - 1
        return list(zip(begins[firsts].tolist(), ends[lasts].tolist(), strict=True))

    @property
    def counts(self) -> Counts:
        """The counts, to be held against those of a name."""
        return Counts(self.documents, self.sequences, self.tokens)

    @property
    def tokens_array(self) -> np.ndarray:
        """All ids of the .bin, mapped: (tokens,), or more where some documents are left out."""
        if not self.tokens:
            return np.empty(0, self.dtype)
        return np.memmap(f"{self.prefix}.bin", self.dtype, "r")

    def _map(self, dtype: type, offset: int, count: int) -> np.ndarray:
        if not count:
            return np.empty(0, dtype)
        return np.memmap(f"{self.prefix}.idx", dtype, "r", offset, (count,))
