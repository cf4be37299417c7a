"""Read vendor files: their formats, the size of their text, and their lines.

.jsonl .json .ndjson             one document a line; cut anywhere: a range owns the lines that start in it
the same, then .gz or .zst       concatenated members and frames too; never cut
.parquet                         a line is made of each row, with the text column alone; never cut
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from backports import zstd

from pretrain_llama import stores
from pretrain_llama.errors import ConfigError, DataError
from pretrain_llama.shards import parquet_rows
from pretrain_llama.stores import SourceFile

FORMATS = re.compile(r".*(?:\.jsonl|\.json|\.ndjson)(\.gz|\.zst)?|.*(\.parquet)", re.DOTALL)
# A window of up to 2 GiB, which zstd --long=31 writes; the library's default is 128 MiB.
ZSTD_OPTIONS = {zstd.DecompressionParameter.window_log_max: 31}
OPENERS: dict[str, Any] = {".gz": gzip.open, ".zst": partial(zstd.open, options=ZSTD_OPTIONS)}
BLOCK_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 16
# Read of a compressed file, to judge it by. zstandard gives nothing of a block, of up to 128 KiB, until it is whole.
HEAD_BYTES = {".gz": SAMPLE_BYTES, ".zst": 1 << 18}


def check_format(path: str, where: str) -> None:
    """Raise ConfigError for a file whose name ends in no format that is read; where: what names the file."""
    if FORMATS.fullmatch(path) is None:
        raise ConfigError(
            f"{path} is no vendor file: .jsonl, .json or .ndjson, also with .gz or .zst, or .parquet is read",
            where=where,
            action="narrow the glob so that it leaves the file out, or convert the file",
        )


def format_of(path: str) -> str:
    """Return the format of a file whose bytes are not its lines: .gz, .zst, .parquet, or nothing."""
    match = FORMATS.fullmatch(path)
    return next(filter(None, match.groups()), "") if match else ""


def is_parquet(path: str) -> bool:
    """Say whether a file's lines are made of its text column."""
    return format_of(path) == ".parquet"


def can_be_cut(path: str) -> bool:
    """Say whether a file can be read in byte ranges."""
    return not format_of(path)


@dataclass(frozen=True)
class TextSize:
    """How many bytes of jsonl a vendor file becomes, about; and what its format tells of that, None where it does not.

    Files of the same text tell the same, plain, .gz or .zst; Parquet goes by its pages.
    """

    about: int
    told: int | None = None


def text_size(file: SourceFile, text_key: str) -> TextSize:
    """Return how many bytes of jsonl a file becomes.

    Plain files: their size. Compressed ones: what their beginning expands to, 64 KiB of a .gz and 256 KiB of a .zst,
    over the whole; where the format tells the size (gzip's ISIZE, RFC 1952, modulo 2**32 and of the last member; the
    frame content size of zstandard, RFC 8878, of the first frame) and agrees within a factor of two, that. Parquet: the
    uncompressed size of the text column. In a store, that is one request for a .zst and for a small .gz, two for other
    .gz, and two or a few more for parquet.

    Raises:
        DataError: the file cannot be read.
    """
    kind = format_of(file.path)
    if kind == ".parquet":
        with _reading(file.path):
            size = max(1, parquet_rows.text_bytes(file.path, text_key, file.etag))
            return TextSize(size, size)
    if not kind or file.size_bytes == 0:
        return TextSize(file.size_bytes, file.size_bytes)
    with _reading(file.path):
        head = stores.read_range(file.path, 0, HEAD_BYTES[kind], file.etag)
        estimate = max(1, _expanded_bytes(head, kind) * file.size_bytes // len(head))
        if kind == ".gz":
            told = int.from_bytes(_last_bytes(file, head, 4), "little")
        else:
            told = zstd.get_frame_info(head).decompressed_size
    return TextSize(told if told is not None and estimate / 2 <= told <= estimate * 2 else estimate, told)


def _last_bytes(file: SourceFile, head: bytes, count: int) -> bytes:
    """Return the last bytes of a file whose beginning was read; where that is all of it, nothing is read again."""
    if len(head) == file.size_bytes:
        return head[-count:]
    return stores.read_range(file.path, max(file.size_bytes - count, 0), count, file.etag)


def blocks_of(path: str, start: int, stop: int | None, text_key: str, etag: str = "") -> Iterator[bytes]:
    """Yield the lines that start in [start, stop) of a vendor file, in blocks of about 1 MiB, cut anywhere.

    Args:
        path: the file, in one of the formats above.
        start: first byte; 0 for a file that cannot be cut.
        stop: byte after the last; None for all that follows.
        text_key: key of the text: the column of a parquet file, nested columns joined by dots.
        etag: of a blob, as it was planned.

    Raises:
        DataError: the file is gone, damaged, another one by now, or ends before the range does.
    """
    with _reading(path):
        kind = format_of(path)
        if kind == ".parquet":
            yield from parquet_rows.blocks(path, text_key, etag)
        elif kind:
            yield from _decompressed_blocks(path, kind, etag)
        else:
            yield from _plain_blocks(path, start, stop, etag)


def _plain_blocks(path: str, start: int, stop: int | None, etag: str) -> Iterator[bytes]:
    position, end = line_range(path, stores.size_bytes(path), start, stop, etag)
    with stores.open_binary(path, etag, buffering=0) as stream:
        stream.seek(position)
        while position < end:
            block = stream.read(min(BLOCK_BYTES, end - position))
            if not block:
                raise DataError(
                    f"a vendor file ends {end - position} bytes early",
                    where=path,
                    action="fetch the file again, and check its size",
                )
            position += len(block)
            yield block


def line_range(path: str, size: int, start: int, stop: int | None, etag: str = "") -> tuple[int, int]:
    """Return where the lines that start in [start, stop) begin and end in a plain file of `size` bytes, in bytes."""
    begin = _line_start(path, start, etag)
    return begin, size if stop is None or stop >= size else _line_start(path, stop, etag)


def _line_start(path: str, position: int, etag: str) -> int:
    """Return where the first line begins that starts at a position of a file or after it; its size if none does."""
    if position == 0:
        return 0
    position -= 1
    while block := stores.read_range(path, position, SAMPLE_BYTES, etag):
        found = block.find(b"\n")
        if found >= 0:
            return position + found + 1
        position += len(block)
    return position


def _decompressed_blocks(path: str, compression: str, etag: str) -> Iterator[bytes]:
    with stores.open_binary(path, etag) as file, OPENERS[compression](file, "rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            yield block


def _expanded_bytes(head: bytes, compression: str) -> int:
    """Return the size of what the beginning of a compressed file expands to."""
    expanded = 0
    with OPENERS[compression](io.BytesIO(head), "rb") as stream:
        try:
            while piece := stream.read(1 << 12):
                expanded += len(piece)
        except EOFError:  # the beginning of a file ends within a member or frame
            pass
    return expanded


def first_bytes(file: SourceFile) -> bytes:
    """Return the beginning of a vendor file's text, up to about 64 KiB; of one that is no parquet file."""
    compression = format_of(file.path)
    with _reading(file.path):
        head = stores.read_range(file.path, 0, HEAD_BYTES.get(compression, SAMPLE_BYTES), file.etag)
        if not compression:
            return head
        expanded = b""
        with OPENERS[compression](io.BytesIO(head), "rb") as stream, suppress(EOFError):
            while len(expanded) < SAMPLE_BYTES and (piece := stream.read(1 << 12)):
                expanded += piece
        return expanded


def beginning_of(file: SourceFile, text_key: str, length: int) -> tuple[bytes, bool]:
    """Return the first bytes of a vendor file's text, at most `length`, up to 32 KiB, and whether that is all of it."""
    text = b""
    if is_parquet(file.path):
        for block in blocks_of(file.path, 0, None, text_key, file.etag):
            text += block
            if len(text) > length:
                break
        is_whole = True
    else:
        text = first_bytes(file)
        is_whole = file.size_bytes <= HEAD_BYTES.get(format_of(file.path), SAMPLE_BYTES)
    return text[:length], is_whole and len(text) <= length


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turn what the readers of the formats raise into a DataError that names the file; a missing right is no damage."""
    try:
        yield
    except PermissionError:
        raise
    except (OSError, EOFError, zlib.error, zstd.ZstdError, ValueError) as error:
        raise DataError(
            f"a vendor file cannot be read: {error}", where=path, action="fetch the file again, and check its size"
        ) from error
