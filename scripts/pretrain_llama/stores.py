"""Where vendor files live: list them, and tell whether one has changed."""

import glob
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pretrain_llama.errors import ConfigError

FINGERPRINT_BYTES = 1 << 16


@dataclass(frozen=True)
class SourceFile:
    """A vendor file as a listing shows it: path, size in bytes as stored, modification time in nanoseconds."""

    path: str
    size_bytes: int
    mtime_ns: int


def list_files(pattern: str, place: str) -> list[SourceFile]:
    """Return the files that a glob matches, sorted by path; hidden ones are left out, as a shell does.

    Args:
        pattern: the glob; ** descends into folders.
        place: where the glob was given, for the message.

    Raises:
        ConfigError: it matches no file.
    """
    found = [path for path in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(path)]
    if not found:
        raise ConfigError(
            f"source {pattern!r} matches no file", where=place, action="correct the glob, or fetch the vendor's files"
        )
    return [SourceFile(path, (stat := os.stat(path)).st_size, stat.st_mtime_ns) for path in found]


def fingerprint(path: str | Path) -> str:
    """Return an identity of a file's content that costs two reads, whatever its size.

    It is the SHA-256 of, in this order: the size in bytes as decimal text, the first and the last 65,536 bytes.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(FINGERPRINT_BYTES)
        file.seek(max(size - FINGERPRINT_BYTES, 0))
        tail = file.read()
    return hashlib.sha256(str(size).encode() + head + tail).hexdigest()
