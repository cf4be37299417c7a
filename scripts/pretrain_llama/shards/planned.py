"""The types of results/plan/{corpus}.json; plan.py explains the keys, alike.py what it notes of files."""

from typing import NotRequired, TypedDict

from pretrain_llama import names


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


class Retired(TypedDict):
    """What left a plan at once.

    `when` is UTC, `why` is changed, redelivered or withdrawn; `files` are as they were planned, `shards` split ids.
    """

    when: str
    why: str
    files: dict[str, PlannedFile]
    shards: list[int]


class Plan(TypedDict):
    """The files and shards of a corpus; `history` has what left it, the shards of which stay in their positions."""

    corpus: str
    text_key: str
    files: dict[str, PlannedFile]
    shards: list[PlannedShard]
    history: NotRequired[list[Retired]]


def live_shards(plan: Plan) -> dict[str, PlannedShard]:
    """Return the shards of a plan by name, in their order, without those that left it."""
    retired = {split_id for entry in plan.get("history", ()) for split_id in entry["shards"]}
    return {
        names.shard_name(plan["corpus"], split_id): shard
        for split_id, shard in enumerate(plan["shards"])
        if split_id not in retired
    }
