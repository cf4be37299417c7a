"""Locate tensors in files, as rows and columns of bytes: the interface `Tensors` that all formats share."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# Names of the dtypes that weights have: ours, and torch's and safetensors'. A conversion keeps each as it is.
TORCH_DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
SAFETENSORS_DTYPES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
ITEM_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


def is_size(value: object) -> bool:
    """Say whether something that was read can be a size, an offset or a count: a whole number from 0 to 2**63 - 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


@dataclass(frozen=True)
class Spec:
    """A tensor's dtype and shape. Its bytes are seen as rows: all axes but the last are counted together."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes along the last axis."""
        return self.shape[-1] * ITEM_BYTES[self.dtype]

    @property
    def rows(self) -> int:
        """Rows; a vector is one."""
        return math.prod(self.shape[:-1])

    @property
    def bytes(self) -> int:
        """Size of the tensor."""
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class Region:
    """A rectangle of a tensor, and where it lies in a file.

    Attributes:
        row, rows: its first row in the tensor, and how many.
        column, width: its first byte in a row of the tensor, and how many bytes of each row.
        path, offset: the file, and where in it the rectangle begins, in bytes.
        stride: bytes in the file from one of its rows to the next.
    """

    row: int
    rows: int
    column: int
    width: int
    path: Path
    offset: int
    stride: int

    def cut(self, row: int, rows: int) -> "Region | None":
        """Return its part in some rows of the tensor; None if it has none there."""
        first, last = max(self.row, row), min(self.row + self.rows, row + rows)
        if first >= last:
            return None
        offset = self.offset + (first - self.row) * self.stride
        return Region(first, last - first, self.column, self.width, self.path, offset, self.stride)

    def moved(self, rows: int) -> "Region":
        """Return the region some rows further down, as part of a larger tensor."""
        return Region(self.row + rows, self.rows, self.column, self.width, self.path, self.offset, self.stride)


def whole(spec: Spec, path: Path, offset: int) -> Region:
    """Return a tensor that lies in one piece."""
    return Region(0, spec.rows, 0, spec.row_bytes, path, offset, spec.row_bytes)


def cut_all(regions: Iterable[Region], row: int, rows: int) -> Iterator[Region]:
    """Yield the parts of some regions that lie in some rows of their tensor."""
    return filter(None, (region.cut(row, rows) for region in regions))


def cover(regions: Iterable[Region], spec: Spec) -> bool:
    """Say whether regions that do not overlap cover a tensor."""
    return sum(region.rows * region.width for region in regions) == spec.bytes


class Tensors(Protocol):
    """Tensors by Hugging Face name, in the files of some format.

    Attributes:
        location: the folder, for messages.
        specs: dtype and shape by name.
    """

    location: Path
    specs: dict[str, Spec]

    def regions(self, name: str) -> list[Region]:
        """Return where a tensor lies."""
