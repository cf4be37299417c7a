"""Files: write beside then rename, hash, copy, link."""

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: str | Path, mode: str = "wb", buffering: int = -1) -> Iterator[IO[Any]]:
    """Write a file beside its place and rename it when the block ends; an error leaves the place as it was.

    The file beside is named by machine and process, so that two runs at once write two files, and the last to end
    gives its own, whole. What a killed process of this machine left is removed by the next one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(path)
    beside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    try:
        with open(beside, mode, buffering, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Write a folder beside its place and rename it when the block ends; otherwise as `replacing`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(path)
    beside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    beside.mkdir()
    try:
        yield beside
        shutil.rmtree(path, ignore_errors=True)
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _remove_orphans(path: Path) -> None:
    ours = re.compile(re.escape(f".{path.name}.{socket.gethostname()}.") + r"(\d+)\.part")
    for other in path.parent.iterdir():
        if (match := ours.fullmatch(other.name)) and not _is_running(int(match[1])):
            if other.is_dir():
                shutil.rmtree(other, ignore_errors=True)
            else:
                other.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path, "w") as file:
        file.write(text)


def write_json(path: str | Path, value: object) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json_text(value))


def json_text(value: object) -> str:
    """Return a value as we write it in JSON files."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def read_json(path: str | Path) -> Any:
    """Return what a JSON file holds."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_block(source: IO[bytes], target: IO[bytes], length: int) -> int:
    """Copy up to `length` bytes between unbuffered files, in the kernel where it can; return how many, 0 at the end."""
    try:
        return os.copy_file_range(source.fileno(), target.fileno(), length)
    except (AttributeError, OSError):  # another system, or two file systems that cannot
        block = source.read(length)
        write_all(target, block)
        return len(block)


def write_all(target: IO[bytes], block: bytes | memoryview) -> None:
    """Write all of a block to an unbuffered file, which may take it in parts."""
    view = memoryview(block)
    while view:
        view = view[target.write(view) :]


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name without moving a byte; copy it where the file system cannot link.

    A file system that cannot link answers with several error numbers, so any failure to link means a copy.
    """
    source, target = Path(source).resolve(), Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def link_or_copy_tree(source: str | Path, target: str | Path) -> None:
    """Give every file below a folder a second name below another."""
    for path in sorted(Path(source).rglob("*")):
        if path.is_file():
            link_or_copy(path, Path(target) / path.relative_to(source))
