"""Read and write local files and Azure blobs through one set of functions.

A location is a path, or az://{container}/{path} (locations.py). The backend of files is local.py, that of blobs is
blobs.py; the latter takes a second to import, and is imported when the first blob is asked for. claim.py locks a
store, and references.py lets a small file stand for a blob.
"""

import hashlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from pretrain_llama.errors import DataError
from pretrain_llama.stores import local
from pretrain_llama.stores.local import BLOCK_BYTES, source_file
from pretrain_llama.stores.locations import BLOB, Piece, SourceFile, is_blob

__all__ = [
    "ASKED_AT_ONCE",
    "BLOB",
    "BLOCK_BYTES",
    "FINGERPRINT_BYTES",
    "Piece",
    "SourceFile",
    "copy",
    "count_lines",
    "delete",
    "etag_of",
    "exists",
    "find_json",
    "fingerprint",
    "is_blob",
    "join",
    "list_files",
    "local_copy",
    "open_binary",
    "read_json",
    "read_range",
    "read_small",
    "size_bytes",
    "source_file",
    "write_small",
]

FINGERPRINT_BYTES = 1 << 16
# Small files that are looked at together: a store answers each in some ten milliseconds.
ASKED_AT_ONCE = 32


def _backend(location: str | Path) -> ModuleType:
    """Return the backend module of a location."""
    if not is_blob(location):
        return local
    from pretrain_llama.stores import blobs

    return blobs


def list_files(pattern: str, where: str) -> list[SourceFile]:
    """Return the files or blobs that a glob matches, sorted by path; hidden ones are left out, as a shell does.

    Args:
        pattern: the glob; ** descends into folders. Blobs are listed once, from the part before its first wildcard.
        where: the glob was given, for the message.

    Raises:
        ConfigError: it matches no file, or one twice, through a link.
        DataError: a name is no UTF-8, or a link leads nowhere.
        PermissionError: a folder cannot be listed.
        OperatorError: the store cannot be listed.
    """
    backend = _backend(pattern)
    if not (found := backend.list_files(pattern, where)):
        raise backend.nothing_found(pattern, where)
    return sorted(found, key=lambda file: file.path)


def fingerprint(file: SourceFile) -> str:
    """Return an identity of a file's content, whatever its size.

    Of a blob it is the ETag, which the listing has told; of a file, by two reads, the SHA-256 of, in this order: the
    size in bytes as decimal text, the first and the last 65,536 bytes.
    """
    if file.etag:
        return file.etag
    if file.size_bytes <= 2 * FINGERPRINT_BYTES:  # most files of many are small: they are read once
        whole = read_range(file.path, 0, 2 * FINGERPRINT_BYTES)
        head, tail = whole[:FINGERPRINT_BYTES], whole[max(file.size_bytes - FINGERPRINT_BYTES, 0) :][:FINGERPRINT_BYTES]
    else:
        head = read_range(file.path, 0, FINGERPRINT_BYTES)
        tail = read_range(file.path, file.size_bytes - FINGERPRINT_BYTES, FINGERPRINT_BYTES)
    return hashlib.sha256(str(file.size_bytes).encode() + head + tail).hexdigest()


def open_binary(location: str | Path, etag: str = "", buffering: int = -1) -> BinaryIO:
    """Open a file or blob for reading; it is seekable. A blob is read in ranges, some of them ahead.

    Args:
        location: of it.
        etag: of the blob as it was planned.
        buffering: of a file, as of `open`.

    Raises:
        DataError: the blob is gone, or is another one by now; also while it is read.
    """
    return _backend(location).open_binary(location, etag, buffering)


def local_copy(location: str | Path, folder: Path) -> Path:
    """Return the path of a file, or of a copy in a folder where it is a blob.

    Raises:
        DataError: there is no such blob.
    """
    if not is_blob(location):
        return Path(location)
    path = folder / Path(location).name
    with open_binary(location) as blob, open(path, "wb") as file:
        shutil.copyfileobj(blob, file)
    return path


def read_range(location: str | Path, start: int, length: int, etag: str = "") -> bytes:
    """Return up to `length` bytes of a file or blob, fewer where it ends; see `open_binary`."""
    return _backend(location).read_range(location, start, length, etag)


def size_bytes(location: str | Path) -> int:
    """Return the size of a file or blob."""
    return _backend(location).size_bytes(location)


def delete(location: str | Path) -> None:
    """Delete a file or blob, if it is there."""
    _backend(location).delete(location)


def exists(location: str | Path) -> bool:
    """Say whether there is such a file or blob."""
    return _backend(location).exists(location)


def etag_of(location: str | Path) -> str | None:
    """Return the ETag of a blob; None where there is none, and of a file."""
    return _backend(location).etag_of(location)


def read_small(location: str | Path) -> bytes | None:
    """Return what a small file or blob holds; None where there is none."""
    return _backend(location).read_small(location)


def count_lines(location: str | Path) -> int:
    """Return the number of newlines in a small blob, or in a file of any size; 0 where there is none."""
    return _backend(location).count_lines(location)


def read_json(location: str | Path) -> Any:
    """Return what a JSON file or blob holds.

    Raises:
        DataError: there is none, or it is no JSON.
    """
    found = find_json(location)
    if found is None:
        raise DataError("no such file", where=location, action="run snakemake, which makes it")
    return found


def find_json(location: str | Path) -> Any:
    """Return what a JSON file or blob holds; None where there is none.

    Raises:
        DataError: it is no JSON.
    """
    content = read_small(location)
    try:
        return None if content is None else json.loads(content)
    except (ValueError, RecursionError) as error:
        told = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(
            f"no JSON: {told}",
            where=location,
            action="write it anew, or bring it back from a copy; run folders keep plans in sources/plan",
        ) from None


def write_small(location: str | Path, content: bytes) -> None:
    """Write a small file or blob, whole or not at all."""
    _backend(location).write_small(location, content)


def join(parts: list[Piece | bytes], location: str) -> str:
    """Make a blob of pieces of others, copied inside the store, and of bytes that are sent; return its ETag.

    It appears when it is whole.

    Raises:
        DataError: a source is gone or has changed.
        OperatorError: there are more parts than a blob can have, or the store fails.
    """
    return _backend(location).join(parts, location)


def copy(source: str, target: str) -> str:
    """Copy a blob inside the store, whatever its size, by one request; return the ETag of the copy."""
    return _backend(source).copy(source, target)
