"""Plan which byte ranges of which vendor files become which shard. Plans are append-only.

A corpus's plan is a JSON file:

    {"corpus": "en_code_python",
     "files":  {path: {"size_bytes": …, "mtime_ns": …, "fingerprint": …}},
     "shards": [{"bytes": …, "ranges": [{"path": …, "start": 0, "stop": 1000}]}]}

The place in "shards" is the split id. A range owns the lines that start in [start, stop), in bytes; "stop" is
null for a compressed file, which is never cut. New files open new shards; a planned shard never changes.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pretrain_llama import names, stores
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import DataError, OperatorError
from pretrain_llama.files import is_compressed, read_json, write_json
from pretrain_llama.stores import SourceFile

Plan = dict[str, Any]


def load(path: str | Path, corpus: Corpus) -> Plan:
    """Return the recorded plan of a corpus, or an empty one."""
    return read_json(path) if Path(path).exists() else {"corpus": corpus.name, "files": {}, "shards": []}


def record(path: str | Path, plan: Plan) -> None:
    """Write a plan whole or not at all."""
    write_json(path, plan)


def planned_shard(path: str | Path, shard: str) -> dict[str, Any]:
    """Return a shard's entry in a recorded plan: its size in bytes, and its ranges.

    Raises:
        OperatorError: the plan is not there, or does not hold the shard.
    """
    split_id = int(names.parse_shard(shard).split_id)
    try:
        plan = read_json(path)
        if shard not in shard_names(plan):
            raise IndexError
        return plan["shards"][split_id]
    except (FileNotFoundError, IndexError):
        raise OperatorError(
            f"shard {shard} is not planned", where=path, action="run snakemake, which records the plan before it merges"
        ) from None


def shard_names(plan: Plan) -> list[str]:
    """Return the names of a plan's shards, in their order."""
    return [names.shard_name(plan["corpus"], split_id) for split_id in range(len(plan["shards"]))]


def extend(plan: Plan, listing: list[SourceFile], target_bytes: int, place: str) -> Plan:
    """Return the plan with shards for the files that it does not hold yet.

    Args:
        plan: the recorded plan; it is not changed.
        listing: all files of the corpus, as they are now.
        target_bytes: size that a shard aims at, in bytes of jsonl.
        place: where the corpus is configured, for messages.

    Raises:
        DataError: a planned file changed or vanished; or no file holds any text.
    """
    current = {file.path: file for file in listing}
    renewed = _check_planned(plan, current, place)
    new = [file for file in listing if file.path not in plan["files"]]
    added = {file.path: asdict(file) | {"fingerprint": stores.fingerprint(file.path)} for file in new}
    for entry in added.values():
        del entry["path"]
    shards = plan["shards"] + cut([(file.path, stores.text_size(file)) for file in new], target_bytes)
    if not shards:
        raise DataError("no file of the corpus holds any text", where=place, action="fetch the vendor's files again")
    return {"corpus": plan["corpus"], "files": plan["files"] | renewed | added, "shards": shards}


def _check_planned(plan: Plan, current: dict[str, SourceFile], place: str) -> dict[str, Any]:
    """Return the planned files that were touched but hold what they held."""
    touched = {}
    for path, planned in plan["files"].items():
        file = current.get(path)
        if file is None:
            raise DataError(
                f"planned file {path} vanished",
                where=place,
                action="put it back: finished shards hold its documents. To drop it for good, delete the corpus's "
                f"plan and its shards ({plan['corpus']}_split_*)",
            )
        if (file.size_bytes, file.mtime_ns) == (planned["size_bytes"], planned["mtime_ns"]):
            continue
        if stores.fingerprint(path) != planned["fingerprint"]:
            raise DataError(
                f"planned file {path} changed",
                where=place,
                action="put back what it held, and deliver new text as a new file. To start the corpus over, "
                f"delete its plan and its shards ({plan['corpus']}_split_*)",
            )
        touched[path] = planned | {"mtime_ns": file.mtime_ns}
    return touched


def cut(files: list[tuple[str, int]], target_bytes: int) -> list[dict[str, Any]]:
    """Cut files into shards of even size, in their order; a compressed file stays whole.

    The number of shards is the total size over the target, rounded, at least one, and each gets an equal part, so
    there is no small last shard. A compressed file that passes the end of a part makes its shard larger; the next
    shard then ends at the first multiple of the part that leaves it at least half a part.

    Args:
        files: (path, bytes of jsonl) of each file; empty ones are left out.
        target_bytes: size that a shard aims at.

    Returns:
        The shards, as a plan records them.
    """
    total = sum(size for _, size in files)
    part = total / max(1, round(total / target_bytes))
    shards: list[dict[str, Any]] = []
    file_begin = end_of_shard = 0
    for path, size in files:
        start = 0
        while start < size:
            position = file_begin + start
            if position >= end_of_shard:
                if not shards or total - position >= part / 2:
                    shards.append({"bytes": 0, "ranges": []})
                end_of_shard = min(total, round(part * (round(position / part) + 1)))
            stop = size if is_compressed(path) else min(size, end_of_shard - file_begin)
            shards[-1]["bytes"] += stop - start
            shards[-1]["ranges"].append({"path": path, "start": start, "stop": None if is_compressed(path) else stop})
            start = stop
        file_begin += size
    return shards
