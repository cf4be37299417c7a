"""Cut vendor files into shards of even size."""

from collections.abc import Iterable
from dataclasses import dataclass

from pretrain_llama.shards.planned import PlannedShard
from pretrain_llama.shards.sources import can_be_cut

# A blob has at most 50,000 blocks: one a range, and one for a newline that it lacks; longer ranges are several.
MOST_RANGES = 20_000


@dataclass(frozen=True)
class Stretch:
    """Bytes [start, stop) of jsonl of a file; of one that cannot be cut, all of it, about."""

    path: str
    start: int
    stop: int


def cut(stretches: Iterable[Stretch], target_bytes: int) -> list[PlannedShard]:
    """Cut files into shards of even size, in their order; one that cannot be cut stays whole.

    The number of shards is the total size over the target, rounded, at least one, and each gets an equal part, so
    there is no small last shard. A whole file that passes the end of a part makes its shard larger; the next
    shard then ends at the first multiple of the part that leaves it at least half a part. Nor has a shard more than
    20,000 ranges, so that many small files are more and smaller shards.

    Args:
        stretches: of the files; empty ones are left out.
        target_bytes: size that a shard aims at.

    Returns:
        The shards, as a plan records them.
    """
    stretches = list(stretches)
    total = sum(stretch.stop - stretch.start for stretch in stretches)
    part = total / max(1, round(total / target_bytes))
    shards: list[PlannedShard] = []
    begin = end_of_shard = 0
    for stretch in stretches:
        path, start = stretch.path, stretch.start
        while start < stretch.stop:
            position = begin + start - stretch.start
            is_full = bool(shards) and len(shards[-1]["ranges"]) == MOST_RANGES
            if position >= end_of_shard or is_full:
                if not shards or is_full or total - position >= part / 2:
                    shards.append({"bytes": 0, "ranges": []})
                end_of_shard = min(total, round(part * (round(position / part) + 1)))
            stop = min(stretch.stop, start + end_of_shard - position) if can_be_cut(path) else stretch.stop
            shards[-1]["bytes"] += stop - start
            shards[-1]["ranges"].append({"path": path, "start": start, "stop": stop if can_be_cut(path) else None})
            start = stop
        begin += stretch.stop - stretch.start
    return shards
