"""The types of results/plan/{corpus}.json; plan.py explains the keys, alike.py what it notes of files."""

from typing import NotRequired, TypedDict


class PlannedFile(TypedDict):
    """A vendor file when it was planned."""

    size_bytes: int
    mtime_ns: int
    fingerprint: str
    content_md5: NotRequired[str]
    told_bytes: NotRequired[int | None]
    beginning: NotRequired[str]
    text_blake3: NotRequired[str]


class Range(TypedDict):
    """Bytes [start, stop) of a file; stop is null where the file is never cut."""

    path: str
    start: int
    stop: int | None


class PlannedShard(TypedDict):
    """The ranges of a shard, and their bytes of jsonl."""

    bytes: int
    ranges: list[Range]


class Plan(TypedDict):
    """The files and shards of a corpus."""

    corpus: str
    text_key: str
    files: dict[str, PlannedFile]
    shards: list[PlannedShard]
