"""The backend of local files: the functions that blobs.py has for blobs. stores/__init__.py documents them."""

import errno
import os
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pretrain_llama import files
from pretrain_llama.errors import ConfigError, raise_together
from pretrain_llama.stores import globs
from pretrain_llama.stores.folder_walk import FolderWalk
from pretrain_llama.stores.locations import SourceFile

BLOCK_BYTES = 1 << 20


def source_file(path: str | Path) -> SourceFile:
    """Return a file as a listing shows it."""
    status = os.stat(path)
    return SourceFile(str(path), status.st_size, status.st_mtime_ns)


def list_files(pattern: str, where: str) -> list[SourceFile]:
    """Return the files that a glob matches. Each name has to be UTF-8, and no two may be one file."""
    walk = FolderWalk(pattern, where)
    raise_together(walk.problems, where)
    return list(walk.found.values())


def nothing_found(pattern: str, where: str) -> Exception:
    """Return the error that says why a glob matches no file."""
    if Path(pattern).is_dir():
        action = f"write '{pattern.rstrip('/')}/*' for the files in it"
        return ConfigError(f"source {pattern!r} is a folder", where=where, action=action)
    beginning = Path(globs.beginning(pattern)).parent
    there = next((folder for folder in (beginning, *beginning.parents) if folder.exists()), Path())
    if not os.access(there, os.R_OK | os.X_OK):  # glob.glob finds nothing there
        return PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))
    return globs.no_match(pattern, where)


def open_binary(path: str | Path, _etag: str = "", buffering: int = -1) -> BinaryIO:
    """Open a file to read."""
    return open(path, "rb", buffering)


def read_range(path: str | Path, start: int, length: int, _etag: str = "") -> bytes:
    """Return up to `length` bytes of a file, fewer where it ends."""
    with open(path, "rb", buffering=0) as stream:
        stream.seek(start)
        return stream.read(length)


def size_bytes(path: str | Path) -> int:
    """Return the size of a file."""
    return os.path.getsize(path)


def delete(path: str | Path) -> None:
    """Delete a file, if it is there."""
    Path(path).unlink(missing_ok=True)


def exists(path: str | Path) -> bool:
    """Say whether there is such a file."""
    return Path(path).exists()


def etag_of(_path: str | Path) -> None:
    """Return None: a file has no ETag."""


def read_small(path: str | Path) -> bytes | None:
    """Return what a small file holds; None where there is none."""
    return Path(path).read_bytes() if Path(path).exists() else None


def count_lines(path: str | Path) -> int:
    """Return the number of newlines in a file of any size; 0 where there is none."""
    if not Path(path).exists():
        return 0
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(partial(file.read, BLOCK_BYTES), b""))


def write_small(path: str | Path, content: bytes) -> None:
    """Write a small file, whole or not at all."""
    with files.replacing(path) as file:
        file.write(content)
