"""Write files atomically, hash, copy and link them; and raise the limit of open files."""

import hashlib
import json
import os
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pretrain_llama.errors import DISK_FULL, OperatorError

OPEN_FILES_A_PAIR = 3  # of .bin and .idx: the .bin as a file and as a map, the .idx as a map
OTHER_OPEN_FILES = 256  # sockets, logs, checkpoints, libraries


@contextmanager
def replacing(path: str | Path, mode: str = "wb", buffering: int = -1) -> Iterator[IO[Any]]:
    """Write a file beside its path and rename it when the block ends; an error leaves what was there as it was.

    It is written in a folder beside, .{name}.parts, which is there while somebody writes, and named by machine and
    process: two runs at once write two files, and the last to end gives its own, whole. What a killed process of this
    machine left is removed by the next one. No other files are looked at, however many that folder has.
    """

    def opened(ours: Path) -> IO[Any]:
        return open(ours, mode, buffering, encoding=None if "b" in mode else "utf-8")

    part = _create_beside(path, opened)
    ours = Path(part.name)
    try:
        with _named(path), part:
            yield part
        ours.replace(path)
    finally:
        ours.unlink(missing_ok=True)
        _leave(ours.parent)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Write a folder beside its path and rename it when the block ends; otherwise as `replacing`."""
    ours = _create_beside(path, _made)
    try:
        with _named(path):
            yield ours
        shutil.rmtree(path, ignore_errors=True)
        ours.rename(path)
    finally:
        shutil.rmtree(ours, ignore_errors=True)
        _leave(ours.parent)


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Name the file that a full disk cuts short: the system names only what cannot be opened."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            error.filename = error.filename or str(path)
        raise


def _create_beside[Created](path: str | Path, create: Callable[[Path], Created]) -> Created:
    """Return what `create` makes of this process's own path beside another path."""
    parts = Path(path).with_name(f".{Path(path).name}.parts")
    parts.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with suppress(FileExistsError):
            parts.mkdir()
        with suppress(FileNotFoundError):  # another process has just ended, and removed the folder
            _remove_orphans(parts)
            return create(parts / f"{socket.gethostname()}.{os.getpid()}")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _leave(parts: Path) -> None:
    with suppress(OSError):  # another process writes there, too
        parts.rmdir()


def _remove_orphans(parts: Path) -> None:
    for other in parts.iterdir():
        host, _, process = other.name.rpartition(".")
        if host == socket.gethostname() and not _is_running(int(process)):
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
    """Return a value as JSON text, formatted as in all our files."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def read_json(path: str | Path) -> Any:
    """Return what a JSON file holds."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_space(folder: Path, size: int) -> None:
    """Raise OperatorError unless the disk of a folder has room for `size` bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OperatorError(
            f"{size / 1e9:.1f} GB to write, {free / 1e9:.1f} GB free",
            where=folder,
            action="make room, or write to another disk",
        )


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


def allow_open_files(pairs: int) -> None:
    """Raise this process's limit of open files to what so many pairs need.

    Raises:
        OperatorError: the machine does not allow it.
    """
    needed = OPEN_FILES_A_PAIR * pairs + OTHER_OPEN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise OperatorError(
            f"{pairs} shards and validation sets need {needed} open files, {hard} are allowed",
            where="ulimit -Hn",
            action="raise the hard limit of open files, or make larger shards",
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
