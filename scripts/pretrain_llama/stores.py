"""Where files live: a folder, or a container of Azure Blob Storage.

A place is a path, or az://{container}/{path} in the storage account that AZURE_STORAGE_ACCOUNT_NAME names. What is done
to blobs is in blobs.py, which is imported only where there is one: a job without them does not wait for the SDK.
"""

import errno
import glob
import hashlib
import json
import os
import shutil
import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from pretrain_llama import files, globs
from pretrain_llama.errors import ConfigError, DataError

BLOB = "az://"
FINGERPRINT_BYTES = 1 << 16
BLOCK_BYTES = 1 << 20
# Small files that are looked at together: a store answers each in some ten milliseconds.
ASKED_AT_ONCE = 32


@dataclass(frozen=True)
class SourceFile:
    """A vendor file as a listing shows it: path, size in bytes as stored, modification time in nanoseconds.

    `etag` is of a blob: the store changes it with every write. A local file has none.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    etag: str = ""


@dataclass(frozen=True)
class Piece:
    """A part of a blob: bytes [start, stop) of the one that had this ETag."""

    path: str
    start: int
    stop: int
    etag: str


def source_file(path: str | Path) -> SourceFile:
    """Return a file of this machine as a listing shows it."""
    status = os.stat(path)
    return SourceFile(str(path), status.st_size, status.st_mtime_ns)


def is_blob(place: str | Path) -> bool:
    """Say whether a place is in a store."""
    return str(place).startswith(BLOB)


def list_files(pattern: str, place: str) -> list[SourceFile]:
    """Return the files or blobs that a glob matches, sorted by path; hidden ones are left out, as a shell does.

    Args:
        pattern: the glob; ** descends into folders. Blobs are listed once, from the part before its first wildcard.
        place: where the glob was given, for the message.

    Raises:
        ConfigError: it matches no file, or one twice, through a link.
        DataError: a name is no UTF-8, or a link leads nowhere.
        PermissionError: a folder cannot be listed.
        OperatorError: the store cannot be listed.
    """
    if is_blob(pattern):
        from pretrain_llama import blobs

        matches = globs.matcher(pattern)
        found = [file for file in blobs.list_blobs(globs.beginning(pattern)) if matches(file.path)]
    else:
        _check_folders(pattern)
        found = _local_files(pattern, place)
    if not found:
        raise _nothing_found(pattern, place)
    return sorted(found, key=lambda file: file.path)


def _check_folders(pattern: str) -> None:
    """Check that all folders that a glob goes through can be listed: glob.glob leaves out those that cannot."""
    for folder in filter(glob.has_magic, map(str, Path(pattern).parents)):
        for path in glob.glob(f"{folder}/", recursive=True):
            if not os.access(path, os.R_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _local_files(pattern: str, place: str) -> list[SourceFile]:
    """Return the files that a glob matches; each has to be one that can be named, and none another one of them."""
    found: list[SourceFile] = []
    paths: dict[tuple[int, int], str] = {}
    for path in sorted(set(glob.glob(pattern, recursive=True))):
        try:
            path.encode()
            status = os.stat(path)
        except FileNotFoundError:
            raise DataError("a link leads nowhere", where=path, action="remove it, or bring back the file") from None
        except UnicodeEncodeError:
            shown = os.fsencode(path).decode(errors="backslashreplace")
            raise DataError("the file's name is no UTF-8", where=shown, action="rename it") from None
        if stat.S_ISDIR(status.st_mode):
            continue
        other = paths.setdefault((status.st_dev, status.st_ino), path)
        # Not every file system has a number of its own for each file.
        if other != path and (status.st_nlink > 1 or os.path.realpath(other) == os.path.realpath(path)):
            raise ConfigError(
                f"{path} and {other} are one file: its documents would be taken twice",
                where=place,
                action="narrow the glob, or remove the link",
            )
        found.append(SourceFile(path, status.st_size, status.st_mtime_ns))
    return found


def _nothing_found(pattern: str, place: str) -> Exception:
    if not is_blob(pattern) and Path(pattern).is_dir():
        action = f"write '{pattern.rstrip('/')}/*' for the files in it"
        return ConfigError(f"source {pattern!r} is a folder", where=place, action=action)
    beginning = Path(globs.beginning(pattern)).parent if not is_blob(pattern) else Path()
    there = next((folder for folder in (beginning, *beginning.parents) if folder.exists()), Path())
    if not os.access(there, os.R_OK | os.X_OK):  # glob.glob finds nothing there
        return PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))
    return ConfigError(
        f"source {pattern!r} matches no file", where=place, action="correct the glob, or fetch the vendor's files"
    )


def fingerprint(file: SourceFile) -> str:
    """Return an identity of a file's content, whatever its size.

    Of a blob it is the ETag, which the listing has told; of a file, by two reads, the SHA-256 of, in this order: the
    size in bytes as decimal text, the first and the last 65,536 bytes.
    """
    if file.etag:
        return file.etag
    head = read_range(file.path, 0, FINGERPRINT_BYTES)
    tail = read_range(file.path, max(file.size_bytes - FINGERPRINT_BYTES, 0), FINGERPRINT_BYTES)
    return hashlib.sha256(str(file.size_bytes).encode() + head + tail).hexdigest()


def open_binary(place: str | Path, etag: str = "", buffering: int = -1) -> BinaryIO:
    """Open a file, or a blob, to read; it can be sought. A blob is read in ranges, some of them ahead.

    Args:
        place: where it is.
        etag: of the blob as it was planned.
        buffering: of a file, as of `open`.

    Raises:
        DataError: the blob is gone, or is another one by now; also while it is read.
    """
    if is_blob(place):
        from pretrain_llama import blobs

        return blobs.open_blob(str(place), etag)
    return open(place, "rb", buffering)


def local_copy(place: str | Path, folder: Path) -> Path:
    """Return the path of a file, or of a copy in a folder where it is a blob.

    Raises:
        DataError: there is no such blob.
    """
    if not is_blob(place):
        return Path(place)
    path = folder / Path(place).name
    with open_binary(place) as blob, open(path, "wb") as file:
        shutil.copyfileobj(blob, file)
    return path


def read_range(place: str | Path, start: int, length: int, etag: str = "") -> bytes:
    """Return up to `length` bytes of a file or blob, fewer where it ends; see `open_binary`."""
    if is_blob(place):
        from pretrain_llama import blobs

        return blobs.read_range(str(place), start, length, etag)
    with open(place, "rb", buffering=0) as stream:
        stream.seek(start)
        return stream.read(length)


def size_bytes(place: str | Path) -> int:
    """Return the size of a file or blob."""
    if is_blob(place):
        from pretrain_llama import blobs

        return blobs.properties(str(place)).size
    return os.path.getsize(place)


def etag_of(place: str | Path) -> str | None:
    """Return the ETag of a blob; None where there is none, and of a file."""
    if is_blob(place):
        from pretrain_llama import blobs

        return blobs.etag_of(str(place))
    return None


def read_small(place: str | Path) -> bytes | None:
    """Return what a small file or blob holds; None where there is none."""
    if is_blob(place):
        from pretrain_llama import blobs

        return blobs.read_small(str(place))
    return Path(place).read_bytes() if Path(place).exists() else None


def count_lines(place: str | Path) -> int:
    """Return the number of newlines in a small blob, or in a file of any size; 0 where there is none."""
    if is_blob(place):
        return (read_small(place) or b"").count(b"\n")
    if not Path(place).exists():
        return 0
    with open(place, "rb") as file:
        return sum(block.count(b"\n") for block in iter(partial(file.read, BLOCK_BYTES), b""))


def read_json(place: str | Path) -> Any:
    """Return what a JSON file or blob holds.

    Raises:
        DataError: there is none, or it is no JSON.
    """
    found = find_json(place)
    if found is None:
        raise DataError("no such file", where=place, action="run snakemake, which makes it")
    return found


def find_json(place: str | Path) -> Any:
    """Return what a JSON file or blob holds; None where there is none.

    Raises:
        DataError: it is no JSON.
    """
    content = read_small(place)
    try:
        return None if content is None else json.loads(content)
    except ValueError as error:
        raise DataError(
            f"no JSON: {error}",
            where=place,
            action="write it anew, or bring it back from a copy; run folders keep plans in sources/plan",
        ) from None


def write_small(place: str | Path, content: bytes) -> None:
    """Write a small file or blob, whole or not at all."""
    if is_blob(place):
        from pretrain_llama import blobs

        return blobs.write_small(str(place), content)
    with files.replacing(place) as file:
        file.write(content)
    return None


def join(parts: list[Piece | bytes], place: str) -> str:
    """Make a blob of pieces of others, copied inside the store, and of bytes that are sent; return its ETag.

    It appears when it is whole.

    Raises:
        DataError: a source is gone or has changed.
        OperatorError: there are more parts than a blob can have, or the store fails.
    """
    from pretrain_llama import blobs

    return blobs.join(parts, place)


def copy(source: str, target: str) -> str:
    """Copy a blob inside the store, whatever its size, by one request; return the ETag of the copy."""
    from pretrain_llama import blobs

    return blobs.copy(source, target)
