"""Read and write headers of safetensors files: where each tensor lies, without reading the tensors.

8 bytes, the length of the header, little endian; the header, JSON that gives dtype, shape and data_offsets of each
tensor; then the tensors, without holes. An fp32 tensor (2,) with a header of 64 bytes: 8 + 64 + 8 = 80 bytes.
Format: https://github.com/huggingface/safetensors#format
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints.tensors import SAFETENSORS_DTYPES, Spec, is_size
from pretrain_llama.errors import DataError, shortened, shown

_HEADER_LIMIT = 100 << 20  # of the safetensors library
FETCH_AGAIN = "fetch the file again"


@dataclass(frozen=True)
class Entry:
    """A tensor of a file: its dtype as the file names it, its shape, and its bytes, `start` to `stop` of the file."""

    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    stop: int


def read_header(path: Path) -> dict[str, Entry]:
    """Return the tensors of a file by name, in their order in it.

    Raises:
        DataError: there is no header, or it does not describe the file.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _HEADER_LIMIT):
            raise DataError("no header of safetensors", where=path, action=FETCH_AGAIN)
        text = file.read(length)
    try:
        described = json.loads(text)
        if not isinstance(described, dict):
            raise ValueError("it is no object")
        described.pop("__metadata__", None)
        entries = {name: _entry(name, value, path, 8 + length) for name, value in described.items()}
    except (ValueError, RecursionError) as error:
        raise DataError(f"no header of safetensors: {shortened(str(error))}", where=path, action=FETCH_AGAIN) from error
    entries = dict(sorted(entries.items(), key=lambda item: item[1].start))
    end = 8 + length
    for name, entry in entries.items():
        if entry.start != end or entry.stop < entry.start:
            raise DataError(f"tensor {name!r} does not begin where another ends", where=path, action=FETCH_AGAIN)
        end = entry.stop
    if end != size:
        raise DataError(f"{size:,} bytes, {end:,} by its header", where=path, action=FETCH_AGAIN)
    return entries


def _entry(name: str, value: Any, path: Path, begin: int) -> Entry:
    """Return a tensor of a header; raise ValueError where it is none."""
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, stop]}:
            if all(map(is_size, [*shape, start, stop])):
                return Entry(dtype, tuple(shape), path, begin + start, begin + stop)
    raise ValueError(f"tensor {shown(name)} is {shown(value)}")


def header(specs: dict[str, Spec]) -> tuple[bytes, dict[str, int]]:
    """Return the header of a file of some tensors, and where in the file each begins."""
    safetensors_name = {ours: theirs for theirs, ours in SAFETENSORS_DTYPES.items()}
    described: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begins, end = {}, 0
    for name, spec in specs.items():
        begins[name], end = end, end + spec.bytes
        described[name] = {
            "dtype": safetensors_name[spec.dtype],
            "shape": spec.shape,
            "data_offsets": (begins[name], end),
        }
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8
    return struct.pack("<Q", len(text)) + text, {name: 8 + len(text) + begin for name, begin in begins.items()}
