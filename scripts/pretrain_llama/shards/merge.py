"""Join ranges of vendor files into one jsonl shard, line by line and unparsed."""

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrain_llama import files
from pretrain_llama.errors import DataError
from pretrain_llama.progress import Progress
from pretrain_llama.receipts import MergeReceipt

UTF8_BOM = b"\xef\xbb\xbf"


def merge(shard: str, ranges: list[dict[str, Any]], output: str | Path, expected_bytes: int) -> MergeReceipt:
    """Write the lines of some ranges to a jsonl file, each ended by one newline; blank lines are counted, not written.

    Args:
        shard: the name of the shard.
        ranges: {"path", "start", "stop"} as a plan records them.
        output: the jsonl file.
        expected_bytes: size of the shard as planned, for the progress shown.

    Raises:
        DataError: a file cannot be read whole.
    """
    receipt = MergeReceipt(shard)
    digest = hashlib.sha256()
    with files.replacing(output) as file, Progress(expected_bytes, "B", f"merge {shard}") as progress:
        for source in ranges:
            for line in read_lines(source["path"], source["start"], source["stop"]):
                receipt.lines_read += 1
                progress.advance(len(line))
                text = line.rstrip(b"\r\n")
                if not text.strip():
                    receipt.blank += 1
                    continue
                receipt.bytes += file.write(text + b"\n")
                receipt.lines_written += 1
                digest.update(text + b"\n")
    receipt.sha256 = digest.hexdigest()
    return receipt


def read_lines(path: str, start: int, stop: int | None) -> Iterator[bytes]:
    """Yield the lines that start in [start, stop) of a file, a byte-order mark at its beginning left out.

    Args:
        path: the file, decompressed if its suffix says so.
        start: first byte; 0 for a compressed file.
        stop: byte after the last; None for all that follows.

    Raises:
        DataError: the file is gone or damaged.
    """
    try:
        with files.open_bytes(path) as stream:
            position = _first_line(stream, start)
            while stop is None or position < stop:
                line = stream.readline()
                if not line:
                    return
                yield line.removeprefix(UTF8_BOM) if position == 0 else line
                position += len(line)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"a vendor file cannot be read: {error}", where=path, action="fetch the file again, and check its size"
        ) from error


def _first_line(stream: Any, start: int) -> int:
    """Move to the first line that starts at `start` or after it, and return its position."""
    if start == 0:
        return 0
    stream.seek(start - 1)
    return start - 1 + len(stream.readline())
