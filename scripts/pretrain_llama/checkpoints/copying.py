"""Copy tensors from files to files in parallel, and hash them on the way; memory is a block for each thread."""

import os
import resource
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import repeat
from pathlib import Path
from threading import Lock

import numpy as np
from blake3 import blake3

from pretrain_llama.checkpoints.tensors import Region, Spec, Tensors, cut_all
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import sha256
from pretrain_llama.progress import Progress

BLOCK_BYTES = 4 << 20
THREADS = min(16, os.cpu_count() or 1)  # more do not make a disk faster, and each takes a block or two

Blocks = Iterator[tuple[int, np.ndarray]]  # first row, and the bytes of some rows: (rows, row_bytes) uint8


def copy_tensors(
    source: Tensors, target: Tensors, files: dict[Path, list[str]], title: str
) -> tuple[dict[str, str], dict[Path, str]]:
    """Copy every tensor of the source to where it belongs in the target, whose files are made.

    Threads take a tensor or a file at a time. Only one can hash a file, so it is read for that once more, at the time
    that its tensors are copied: from memory, where the machine has some to keep it in.

    Args:
        source: to read.
        target: lays out tensors of the same names and row sizes; it may have further rows.
        files: source files to hash whole, with the names of the tensors in each, in their order. Tensors that are in
            none of them are copied as well.
        title: of the progress.

    Returns:
        The BLAKE3 of each tensor, of its bytes in row order, and the SHA-256 of each of the files.

    Raises:
        OperatorError: a source file is cut short.
    """
    names = list(source.specs)
    in_files = {name for held in files.values() for name in held}
    order: list[str | Path] = []
    for path, held in files.items():
        order += [path, *held]
    order += [name for name in names if name not in in_files]
    with OpenFiles() as opened, _progress(source, names, title) as progress, ThreadPoolExecutor(THREADS) as threads:

        def do(task: str | Path) -> str:
            if isinstance(task, Path):
                return sha256(task)
            digest, regions = blake3(), target.regions(task)
            for row, block in read_blocks(source, task, opened, one_buffer(source, task)):
                digest.update(block.data)
                write_rows(regions, row, block, opened)
                progress.advance(block.nbytes)
            return digest.hexdigest()

        digests = dict(zip(order, threads.map(do, order), strict=True))
    return {name: digests[name] for name in names}, {path: digests[path] for path in files}


def hash_tensors(source: Tensors, title: str, names: Iterable[str] | None = None) -> dict[str, str]:
    """Return the BLAKE3 of some tensors, or of all, of their bytes in row order."""
    names = list(source.specs if names is None else names)
    with OpenFiles() as opened, _progress(source, names, title) as progress, ThreadPoolExecutor(THREADS) as threads:

        def hash_one(name: str) -> str:
            digest = blake3()
            for _, block in read_blocks(source, name, opened, one_buffer(source, name)):
                digest.update(block.data)
                progress.advance(block.nbytes)
            return digest.hexdigest()

        return dict(zip(names, threads.map(hash_one, names), strict=True))


def _progress(source: Tensors, names: Iterable[str], title: str) -> Progress:
    return Progress(sum(source.specs[name].bytes for name in names), "B", title)


class OpenFiles(AbstractContextManager):
    """Files that many threads read and write at offsets; as many as the system lets a process open."""

    def __init__(self) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # a checkpoint of many processes has more than 1,024
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._descriptors: dict[tuple[Path, int], int] = {}
        self._lock = Lock()

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def _open(self, path: Path, flags: int) -> int:
        with self._lock:
            if (path, flags) not in self._descriptors:
                self._descriptors[path, flags] = os.open(path, flags)
            return self._descriptors[path, flags]

    def read(self, path: Path, buffer: memoryview, offset: int) -> None:
        """Fill a buffer.

        Raises:
            OperatorError: the file ends before.
        """
        descriptor = self._open(path, os.O_RDONLY)
        while buffer:
            count = os.preadv(descriptor, [buffer], offset)
            if not count:
                raise OperatorError(
                    f"the file ends at {offset:,} bytes, within a tensor", where=path, action="fetch or write it again"
                )
            buffer, offset = buffer[count:], offset + count

    def write(self, path: Path, buffer: memoryview, offset: int) -> None:
        """Write a buffer."""
        descriptor = self._open(path, os.O_WRONLY)
        while buffer:
            count = os.pwrite(descriptor, buffer, offset)
            buffer, offset = buffer[count:], offset + count


def read_blocks(source: Tensors, name: str, opened: OpenFiles, buffers: Iterator[np.ndarray]) -> Blocks:
    """Yield a tensor block by block, in row order; each block lies in the next of some buffers."""
    spec, regions = source.specs[name], source.regions(name)
    rows_a_block = max(1, BLOCK_BYTES // spec.row_bytes)
    for row in range(0, spec.rows, rows_a_block):
        rows = min(rows_a_block, spec.rows - row)
        block = next(buffers)[: rows * spec.row_bytes].reshape(rows, spec.row_bytes)
        read_rows(regions, row, block, opened)
        yield row, block


def read_rows(regions: list[Region], row: int, block: np.ndarray, opened: OpenFiles) -> None:
    """Read rows of a tensor from `row` on into a block, (rows, row_bytes) uint8, given where it lies."""
    for region in cut_all(regions, row, len(block)):
        _read(region, block[region.row - row :][: region.rows], opened)


def same_rows(spec: Spec, first: list[Region], second: list[Region]) -> bool:
    """Say whether two tensors of one dtype and shape hold the same bytes, given where each lies."""
    rows_a_block = max(1, BLOCK_BYTES // spec.row_bytes)
    with OpenFiles() as opened:
        for row in range(0, spec.rows, rows_a_block):
            blocks = np.empty((2, min(rows_a_block, spec.rows - row), spec.row_bytes), np.uint8)
            for regions, block in zip((first, second), blocks, strict=True):
                read_rows(regions, row, block, opened)
            if not np.array_equal(*blocks):
                return False
    return True


def _read(region: Region, rows: np.ndarray, opened: OpenFiles) -> None:
    """Read a region into its columns of some rows."""
    if region.width == rows.shape[1] == region.stride:
        opened.read(region.path, rows.reshape(-1).data, region.offset)
        return
    spread = np.empty(region.rows * region.stride, np.uint8)  # with what lies between its rows, but after the last
    opened.read(region.path, spread[: (region.rows - 1) * region.stride + region.width].data, region.offset)
    rows[:, region.column :][:, : region.width] = spread.reshape(region.rows, region.stride)[:, : region.width]


def write_rows(regions: list[Region], row: int, block: np.ndarray, opened: OpenFiles) -> None:
    """Write rows of a tensor, (rows, row_bytes) uint8, from `row` on, given where it lies."""
    for region in cut_all(regions, row, len(block)):
        assert region.width == region.stride == block.shape[1], "a target holds whole rows"
        opened.write(region.path, block[region.row - row :][: region.rows].reshape(-1).data, region.offset)


def one_buffer(source: Tensors, name: str) -> Iterator[np.ndarray]:
    """Return a buffer for blocks of a tensor, again and again."""
    return repeat(np.empty(max(BLOCK_BYTES, source.specs[name].row_bytes), np.uint8))
