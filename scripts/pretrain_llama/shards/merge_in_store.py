"""Merge byte ranges of vendor blobs into one jsonl shard inside the store, almost without a download.

A blob's range is copied by the store itself (Put Block From URL). What is read here are the ends of ranges, to cut at
line starts and to see whether the last newline is there, and whole blobs that are no larger than such a read.
"""

from concurrent.futures import ThreadPoolExecutor

from pretrain_llama import __version__, stores
from pretrain_llama.receipts import MergedRange, MergeReceipt
from pretrain_llama.shards import plan as shards
from pretrain_llama.shards.planned import Plan, PlannedFile, Range
from pretrain_llama.shards.sources import SAMPLE_BYTES, can_be_cut, line_range
from pretrain_llama.stores import Piece

ASKED_AT_ONCE = 16
SENT_BYTES = 1 << 22


def can_be_joined(plan: Plan, shard: str) -> bool:
    """Say whether all ranges of a shard are of blobs whose bytes are its own."""
    paths = {part["path"] for part in shards.planned_shard(plan, shard)["ranges"]}
    return all(stores.is_blob(path) and can_be_cut(path) for path in paths)


def merge_in_store(plan: Plan, shard: str, location: str) -> MergeReceipt:
    """Write the lines of a shard's ranges to a blob, each ended by a newline.

    Args:
        plan: that holds the shard.
        shard: its name; its ranges `can_be_joined`.
        location: az://{container}/{path} of the shard.

    Raises:
        DataError: a blob is gone, or has changed since it was planned.
        OperatorError: the store fails, or the shard has more parts than a blob can have.
    """
    ranges = shards.planned_shard(plan, shard)["ranges"]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        looked_at = list(threads.map(lambda part: _look_at(part, plan["files"][part["path"]]), ranges))
    receipt = MergeReceipt(shard, __version__)
    parts: list[Piece | bytes] = []
    for planned, (content, needs_newline) in zip(ranges, looked_at, strict=True):
        receipt.ranges.append(MergedRange(**planned, bytes=_length(content), newline_added=needs_newline))
        _append(parts, content)
        _append(parts, b"\n" if needs_newline else b"")
    receipt.bytes = sum(part.bytes + part.newline_added for part in receipt.ranges)
    receipt.etag = stores.join(parts, location)
    return receipt


def _look_at(planned: Range, file: PlannedFile) -> tuple[Piece | bytes, bool]:
    """Return a range's lines, as a piece of its blob or as bytes, and whether they lack their last newline."""
    path, size, etag = planned["path"], file["size_bytes"], file["fingerprint"]
    if size <= SAMPLE_BYTES and (planned["start"], planned["stop"]) == (0, size):
        content = stores.read_range(path, 0, size, etag)
        return content, not content.endswith(b"\n")
    begin, end = line_range(path, size, planned["start"], planned["stop"], etag)
    is_last = end == size > begin
    return Piece(path, begin, end, etag), is_last and stores.read_range(path, end - 1, 1, etag) != b"\n"


def _length(content: Piece | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stop - content.start


def _append(parts: list[Piece | bytes], content: Piece | bytes) -> None:
    """Append to the parts; bytes that follow each other are sent together, up to 4 MiB."""
    if not _length(content):
        return
    last = parts[-1] if parts else None
    if isinstance(last, bytes) and isinstance(content, bytes) and len(last) + len(content) <= SENT_BYTES:
        parts[-1] = last + content
    else:
        parts.append(content)
