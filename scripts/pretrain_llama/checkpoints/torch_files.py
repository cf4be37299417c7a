"""Read and write the files of torch.save without torch.

torch.save writes a zip archive without compression: `data.pkl`, a pickle of the object in which each tensor stands as a
reference, and `data/{key}`, the bytes of each storage.
"""

import io
import math
import struct
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints import pickles
from pretrain_llama.checkpoints.pickles import BrokenPickleError, Call, Name, Persistent
from pretrain_llama.checkpoints.tensors import ITEM_BYTES, TORCH_DTYPES, Spec, is_size
from pretrain_llama.errors import ConfigError, OperatorError, shortened

ALIGNMENT = 64  # of a tensor's bytes, as torch.save aligns them
_STORAGES = {"fp32": "FloatStorage", "fp16": "HalfStorage", "bf16": "BFloat16Storage"}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that a pickle refers to.

    Attributes:
        dtype: ours, or nothing where it is of another kind.
        strides: in elements.
        offset: in the file, in bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    path: Path
    offset: int

    @property
    def has_rows(self) -> bool:
        """Say whether a row's items lie side by side, and the rows in order; there may be gaps between rows.

        A transposed tensor has none, nor one that repeats a row.
        """
        axes = [(size, stride) for size, stride in zip(self.shape, self.strides, strict=True) if size > 1]
        if self.shape and self.shape[-1] > 1 and self.strides[-1] != 1:
            return False
        return all(stride >= size * inner for (_, stride), (size, inner) in pairwise(axes))


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StoredTensor:
    """Return a tensor as torch.save describes it: its storage, where it begins in that, its shape and strides."""
    dtype, path, start, size = storage
    if (
        len(shape) != len(strides)
        or len(shape) > pickles.MOST_AXES
        or not all(map(is_size, (offset, *shape, *strides)))
    ):
        raise BrokenPickleError("a tensor whose place, shape or strides are no sizes")
    item_bytes = ITEM_BYTES.get(dtype, 0)
    end = offset + sum((count - 1) * stride for count, stride in zip(shape, strides, strict=True)) + 1
    if 0 not in shape and end * item_bytes > size:
        raise BrokenPickleError(f"a tensor of {end * item_bytes:,} bytes in a storage of {size:,}")
    return StoredTensor(dtype or "", tuple(shape), tuple(strides), path, start + offset * item_bytes)


def check_rows(tensor: StoredTensor, name: str) -> None:
    """Raise ConfigError unless a tensor can be read row by row."""
    if not tensor.has_rows:
        raise ConfigError(
            f"{name} has strides {tensor.strides} for shape {tensor.shape}: it does not lie in rows",
            where=tensor.path,
            action="load the file with torch, and save it again with .contiguous() tensors",
        )


KNOWN = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    **{("torch", name): dtype for name, dtype in TORCH_DTYPES.items()},
    **{("torch", name): dtype for dtype, name in _STORAGES.items()},
}


def load(path: Path, offset: int = 0, length: int | None = None) -> Any:
    """Return what torch.save wrote, with a `StoredTensor` for each tensor; nothing in it is executed.

    Args:
        path: of the file.
        offset, length: of the archive in it, in bytes; it goes to the end of the file where no length is given.

    Raises:
        OperatorError: there is no whole archive there.
    """
    with open(path, "rb") as file:
        part = _Part(file, offset, length)
        try:
            with zipfile.ZipFile(part) as archive:
                entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}

            def storage(reference: tuple) -> tuple[str | None, Path, int, int]:
                _, kind, key, *_ = reference
                entry = entries[f"data/{key}"]
                return kind if isinstance(kind, str) else None, path, offset + _begin(part, entry), entry.file_size

            pickled = entries["data.pkl"]
            part.seek(_begin(part, pickled))  # not through zipfile: torch may leave out the CRC-32
            return pickles.load(io.BytesIO(part.read(min(pickled.file_size, part.bytes))), KNOWN, storage)
        except Exception as error:  # zipfile raises many kinds, by what is broken
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk, or of the path
            raise OperatorError(
                f"no file of torch.save: {shortened(str(error)) or type(error).__name__}",
                where=path,
                action="fetch it again; one written before torch 1.6 has another format: load and save it with torch",
            ) from error


class _Part(io.RawIOBase):
    """A part of a file, read as a file."""

    def __init__(self, file: io.BufferedReader, offset: int, length: int | None) -> None:
        self._file, self._offset = file, offset
        there = max(0, file.seek(0, io.SEEK_END) - offset)
        self.bytes = there if length is None else min(length, there)
        self.seek(0)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self.bytes}[whence]
        if base + position < 0:
            raise OSError("before the beginning")  # as zipfile expects of a file that is shorter than an archive
        return self._file.seek(self._offset + base + position) - self._offset

    def tell(self) -> int:
        return self._file.tell() - self._offset

    def readinto(self, buffer: Any) -> int:
        left = max(0, self.bytes - self.tell())
        return self._file.readinto(memoryview(buffer)[:left])


def _begin(file: io.RawIOBase, entry: zipfile.ZipInfo) -> int:
    """Return where an entry's bytes begin: behind its local header of 30 bytes, its name and its extra field."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{entry.filename} is compressed")
    file.seek(entry.header_offset + 26)
    name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
    return entry.header_offset + 30 + name_bytes + extra_bytes


def saved(value: Any) -> bytes:
    """Return plain data in the format of torch.save."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in _small_entries(value):
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def _small_entries(value: Any) -> list[tuple[str, bytes]]:
    return [("archive/data.pkl", pickles.dump(value)), ("archive/byteorder", b"little"), ("archive/version", b"3\n")]


def envelope(spec: Spec) -> tuple[bytes, bytes]:
    """Return what torch.save writes before and after the bytes of one tensor.

    The archive holds four entries: data.pkl, byteorder, version and, last, the tensor's bytes at a multiple of 64. Each
    stands behind a local header of 30 bytes, its name and, for the tensor, an extra field that pads; the central
    directory, 46 bytes and the name of each, and an end record of 22 bytes follow. Of a (2, 3) tensor in fp32: 384
    bytes before, its 24, and 46 x 4 + 62 + 22 = 268 after. CRC-32s are left at 0: torch does not read them, and offers
    to leave them out (torch.serialization.set_crc32_options). From 4 GiB on, sizes and offsets stand in zip64 fields.

    Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
    """
    head = directory = b""
    small = _small_entries(_rebuilding(spec))
    for name, content in small:
        directory += _directory_entry(name, len(content), len(head), b"")
        head += _local_header(name, len(content), b"") + content
    name = "archive/data/0"
    zip64 = struct.pack("<HHQQ", 1, 16, spec.bytes, spec.bytes) if spec.bytes >= _LIMIT else b""
    padding = -(len(head) + 30 + len(name) + len(zip64) + 4) % ALIGNMENT
    directory += _directory_entry(name, spec.bytes, len(head), zip64)
    head += _local_header(name, spec.bytes, zip64 + struct.pack("<2sH", b"FB", padding) + bytes(padding))
    return head, directory + _end_record(len(small) + 1, len(directory), len(head) + spec.bytes)


_LIMIT = 0xFFFFFFFF  # a field of 32 bits that holds it refers to one of 64


def _rebuilding(spec: Spec) -> Call:
    """Return how a pickle names a tensor that is all of one storage."""
    items = math.prod(spec.shape)
    storage = Persistent(("storage", Name("torch", _STORAGES[spec.dtype]), "0", "cpu", items))
    strides = tuple(math.prod(spec.shape[axis + 1 :]) for axis in range(len(spec.shape)))
    hooks = Call(Name("collections", "OrderedDict"), ())
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), (storage, 0, spec.shape, strides, False, hooks))


def _local_header(name: str, size: int, extra: bytes) -> bytes:
    size = min(size, _LIMIT)
    fixed = struct.pack("<4s5H3I2H", b"PK\x03\x04", 45, 0, 0, 0, 0, 0, size, size, len(name), len(extra))
    return fixed + name.encode() + extra


def _directory_entry(name: str, size: int, offset: int, extra: bytes) -> bytes:
    size = min(size, _LIMIT)
    lengths = (len(name), len(extra), 0, 0, 0, 0, offset)
    return (
        struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 45, 45, 0, 0, 0, 0, 0, size, size, *lengths) + name.encode() + extra
    )


def _end_record(entries: int, directory_bytes: int, directory_offset: int) -> bytes:
    counts = (entries, entries, directory_bytes)
    zip64 = b""
    if directory_offset >= _LIMIT:
        zip64 = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, *counts, directory_offset)
        zip64 += struct.pack("<4sIQI", b"PK\x06\x07", 0, directory_offset + directory_bytes, 1)
    return zip64 + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, *counts, min(directory_offset, _LIMIT), 0)
