"""Plan which byte ranges of which vendor files become which shard. Plans are append-only.

A corpus's plan is a JSON file:

    {"corpus": "en_code_python",
     "text_key": "text",
     "files":  {path: {"size_bytes": …, "mtime_ns": …, "fingerprint": …}},
     "shards": [{"bytes": …, "ranges": [{"path": …, "start": 0, "stop": 1000}]}]}

The text key, of the table, names the column of parquet files. The place in "shards" is the split id. A range owns the
lines that start in [start, stop), in bytes; "stop" is null for a compressed or parquet file, which is never cut. New
files open new shards; a planned shard never changes.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pretrain_llama import names, stores
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import DataError, OperatorError
from pretrain_llama.files import read_json, write_json
from pretrain_llama.shards.sources import can_be_cut, check_format, is_parquet, text_bytes
from pretrain_llama.stores import SourceFile

Plan = dict[str, Any]
START_OVER = "its plan in results/plan and its shards in results/shards and results/tokenized"


def plan_corpus(corpus: Corpus, path: str | Path, target_bytes: int) -> Plan:
    """Return a corpus's recorded plan, with shards for the vendor files that it does not hold yet.

    Args:
        corpus: its source is listed.
        path: where its plan is recorded, or will be.
        target_bytes: size that a shard aims at, in bytes of jsonl.

    Raises:
        ConfigError: the source matches no file, or one of a format that is not read.
        DataError: a planned file changed or vanished, a new one cannot be read, none holds any text, or the text key
            of planned parquet files changed.
    """
    return extend(load(path, corpus), stores.list_files(corpus.source, corpus.place), corpus, target_bytes)


def load(path: str | Path, corpus: Corpus) -> Plan:
    """Return the recorded plan of a corpus, or an empty one."""
    if Path(path).exists():
        return read_json(path)
    return {"corpus": corpus.name, "text_key": corpus.text_key, "files": {}, "shards": []}


def record(path: str | Path, plan: Plan) -> None:
    """Write a plan whole or not at all."""
    write_json(path, plan)


def read(path: str | Path, shard: str) -> Plan:
    """Return the recorded plan that holds a shard.

    Raises:
        OperatorError: the plan is not there, or does not hold the shard.
    """
    plan = read_json(path) if Path(path).exists() else None
    if plan is None or shard not in shard_names(plan):
        raise OperatorError(
            f"shard {shard} is not planned", where=path, action="run snakemake, which records the plan before it merges"
        )
    return plan


def planned_shard(plan: Plan, shard: str) -> dict[str, Any]:
    """Return a shard's entry in the plan that holds it: its size in bytes, and its ranges."""
    return plan["shards"][int(names.parse_shard(shard).split_id)]


def check_unchanged(plan: Plan, planned: dict[str, Any], place: object) -> None:
    """Check that the files of a shard's ranges are what they were when they were planned.

    Args:
        plan: the recorded plan.
        planned: the shard's entry in it.
        place: of the plan, for the message.

    Raises:
        DataError: a file changed.
    """
    files = plan["files"]
    for name in dict.fromkeys(part["path"] for part in planned["ranges"]):
        stat = os.stat(name)
        if (stat.st_size, stat.st_mtime_ns) == (files[name]["size_bytes"], files[name]["mtime_ns"]):
            continue
        if stores.fingerprint(name) != files[name]["fingerprint"]:
            raise _changed(name, place)


def shard_names(plan: Plan) -> list[str]:
    """Return the names of a plan's shards, in their order."""
    return [names.shard_name(plan["corpus"], split_id) for split_id in range(len(plan["shards"]))]


def extend(plan: Plan, listing: list[SourceFile], corpus: Corpus, target_bytes: int) -> Plan:
    """Return a plan with shards for the files of a listing that it does not hold yet; see `plan_corpus`."""
    if plan["text_key"] != corpus.text_key and any(is_parquet(path) for path in plan["files"]):
        raise DataError(
            f"text_key was {plan['text_key']!r} when parquet files were planned, and is {corpus.text_key!r}",
            where=corpus.place,
            action=f"put it back, or start the corpus over: delete {START_OVER}",
        )
    current = {file.path: file for file in listing}
    renewed = _check_planned(plan, current, corpus.place)
    new = [file for file in listing if file.path not in plan["files"]]
    for file in new:
        check_format(file.path, corpus.place)
    added = {file.path: asdict(file) | {"fingerprint": stores.fingerprint(file.path)} for file in new}
    for entry in added.values():
        del entry["path"]
    shards = plan["shards"] + cut([(file.path, text_bytes(file.path, corpus.text_key)) for file in new], target_bytes)
    if not shards:
        raise DataError(
            "no file of the corpus holds any text", where=corpus.place, action="fetch the vendor's files again"
        )
    files = plan["files"] | renewed | added
    return {"corpus": plan["corpus"], "text_key": corpus.text_key, "files": files, "shards": shards}


def _check_planned(plan: Plan, current: dict[str, SourceFile], place: str) -> dict[str, Any]:
    """Return the planned files that were touched but hold what they held."""
    touched = {}
    for path, planned in plan["files"].items():
        file = current.get(path)
        if file is None:
            raise DataError(
                f"planned file {path} vanished",
                where=place,
                action="put it back: finished shards hold its documents. To drop it for good, start the corpus "
                f"over: delete {START_OVER}",
            )
        if (file.size_bytes, file.mtime_ns) == (planned["size_bytes"], planned["mtime_ns"]):
            continue
        if stores.fingerprint(path) != planned["fingerprint"]:
            raise _changed(path, place)
        touched[path] = planned | {"mtime_ns": file.mtime_ns}
    return touched


def _changed(path: str, place: object) -> DataError:
    return DataError(
        f"planned file {path} changed",
        where=place,
        action="put back what it held, and deliver new text as a new file. To start the corpus over, delete "
        + START_OVER,
    )


def cut(files: list[tuple[str, int]], target_bytes: int) -> list[dict[str, Any]]:
    """Cut files into shards of even size, in their order; one that cannot be cut stays whole.

    The number of shards is the total size over the target, rounded, at least one, and each gets an equal part, so
    there is no small last shard. A whole file that passes the end of a part makes its shard larger; the next
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
            stop = min(size, end_of_shard - file_begin) if can_be_cut(path) else size
            shards[-1]["bytes"] += stop - start
            shards[-1]["ranges"].append({"path": path, "start": start, "stop": stop if can_be_cut(path) else None})
            start = stop
        file_begin += size
    return shards
