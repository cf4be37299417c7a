"""Locations and listed files: a path, or az://{container}/{path} in the account AZURE_STORAGE_ACCOUNT_NAME."""

from dataclasses import dataclass
from pathlib import Path

BLOB = "az://"


@dataclass(frozen=True)
class SourceFile:
    """A vendor file as a listing shows it: path, size in bytes as stored, modification time in nanoseconds.

    `etag` is of a blob: the store changes it with every write. `content_md5`, in hexadecimal digits, is of a blob whose
    writer sent it or let the store compute it. A local file has neither.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    etag: str = ""
    content_md5: str = ""


@dataclass(frozen=True)
class Piece:
    """A part of a blob: bytes [start, stop) of the one that had this ETag."""

    path: str
    start: int
    stop: int
    etag: str


def is_blob(location: str | Path) -> bool:
    """Say whether a location is in a store."""
    return str(location).startswith(BLOB)
