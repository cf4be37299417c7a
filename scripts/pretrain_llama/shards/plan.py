"""Plan which byte ranges of which vendor files become which shard. Plans are append-only.

A corpus's plan is a JSON file:

    {"corpus": "en_code_python",
     "text_key": "text",
     "files":  {path: {"size_bytes": …, "mtime_ns": …, "fingerprint": …}},      a blob's fingerprint is its ETag;
                                                                                and what alike.py notes of a file
     "shards": [{"bytes": …, "ranges": [{"path": …, "start": 0, "stop": 1000}]}]}

The text key, of the table, names the column of parquet files. The position in "shards" is the split id. A range owns
the lines that start in [start, stop), in bytes; "stop" is null for a compressed or parquet file, which is never cut.
New files open new shards; a planned shard never changes.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import batched, chain
from pathlib import Path

from pretrain_llama import files, names, stores
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import DataError, OperatorError, made_of_each
from pretrain_llama.shapes import misfit
from pretrain_llama.shards.copies import check_compressed
from pretrain_llama.shards.first_documents import check_first_documents
from pretrain_llama.shards.planned import Plan, PlannedFile, PlannedShard
from pretrain_llama.shards.sources import TextSize, can_be_cut, check_format, is_parquet, text_size
from pretrain_llama.stores import SourceFile

LOOKED_AT_ONCE = 16
FILES_A_TASK = 64  # of small files, a thread's task costs more than the reading
# A blob has at most 50,000 blocks: one a range, and one for a newline that it lacks; longer ranges are several.
MOST_RANGES = 20_000
START_OVER = "its plan in results/plan and its shards in results/shards and results/tokenized"


def plan_corpus(corpus: Corpus, recorded: Plan, target_bytes: int) -> Plan:
    """Return a corpus's recorded plan, with shards for the vendor files that it does not hold yet.

    Args:
        corpus: its source is listed.
        recorded: its plan; see `load`.
        target_bytes: size that a shard aims at, in bytes of jsonl.

    Raises:
        ConfigError: the source matches no file, or one of a format that is not read; or the first documents have no
            such text key.
        DataError: a planned file changed or vanished, a new one cannot be read, none holds any text, or the text key
            of planned parquet files changed.
    """
    listing = stores.list_files(corpus.source, corpus.where)
    planned = extend(recorded, listing, corpus, target_bytes)
    if len(planned["shards"]) > len(recorded["shards"]):
        check_first_documents(listing, corpus)
    return planned


def load(path: str | Path, corpus: Corpus) -> Plan:
    """Return the recorded plan of a corpus, or an empty one.

    Raises:
        DataError: it is no plan.
    """
    recorded = _find(path)
    return empty(corpus) if recorded is None else recorded


def _find(path: str | Path) -> Plan | None:
    """Return a recorded plan, once it is known to be one; None where there is none."""
    recorded = stores.find_json(path)
    bad = None if recorded is None else misfit(recorded, Plan)
    if recorded and not bad:
        ranges = [part for shard in recorded["shards"] for part in shard["ranges"]]
        strange = [part for part in ranges if part["path"] not in recorded["files"]]
        strange += [
            part
            for part in ranges
            if not 0 <= part["start"] <= (part["start"] if part["stop"] is None else part["stop"])
        ]
        bad = f"a range is {strange[0]}, which no file of it has" if strange else None
    if bad:
        raise DataError(
            f"no plan of this version: {bad}",
            where=path,
            action=f"bring it back from a copy, such as sources/plan of a run folder; or start the corpus over: delete "
            f"{START_OVER}",
        )
    return recorded


def empty(corpus: Corpus) -> Plan:
    """Return a plan that holds nothing yet."""
    return {"corpus": corpus.name, "text_key": corpus.text_key, "files": {}, "shards": []}


def record(path: str | Path, plan: Plan) -> None:
    """Write a plan whole or not at all.

    Raises:
        OperatorError: another run has recorded one meanwhile that this plan does not go on from.
    """
    recorded = _find(path)
    if recorded == plan:
        return
    if recorded is not None and not goes_on_from(recorded, plan):
        raise OperatorError(
            f"another run recorded a plan of {plan['corpus']} since this one read it",
            where=path,
            action="run again: it goes on from that plan",
        )
    stores.write_small(path, files.json_text(plan).encode())


def goes_on_from(recorded: Plan, plan: Plan) -> bool:
    """Say whether a plan extends a recorded one: the same files and shards at the same positions, and maybe more."""
    same_files = all(
        path in plan["files"] and plan["files"][path]["fingerprint"] == file["fingerprint"]
        for path, file in recorded["files"].items()
    )
    return same_files and plan["shards"][: len(recorded["shards"])] == recorded["shards"]


def read(path: str | Path, shard: str) -> Plan:
    """Return the recorded plan that holds a shard.

    Raises:
        OperatorError: the plan is not there, or does not hold the shard.
    """
    plan = _find(path)
    if plan is None or shard not in shard_names(plan):
        raise OperatorError(
            f"shard {shard} is not planned", where=path, action="run snakemake, which records the plan before it merges"
        )
    return plan


def planned_shard(plan: Plan, shard: str) -> PlannedShard:
    """Return a shard's entry in the plan that holds it: its size in bytes, and its ranges."""
    return plan["shards"][int(names.parse_shard(shard).split_id)]


def etag(plan: Plan, path: str) -> str:
    """Return the ETag of a planned blob; "" of a file."""
    return plan["files"][path]["fingerprint"] if stores.is_blob(path) else ""


def check_unchanged(plan: Plan, shard: str) -> None:
    """Check that the files of a shard's ranges are those of the plan that this run began with.

    Raises:
        DataError: a file changed, or was touched since: nobody knows what was read of it.
    """
    for name in dict.fromkeys(part["path"] for part in planned_shard(plan, shard)["ranges"]):
        if stores.is_blob(name):  # it is read on condition of its ETag
            continue
        try:
            is_same = _is_same_entry(stores.source_file(name), plan["files"][name])
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise DataError(
                f"planned file {name} was written to while it was read",
                where=plan["corpus"],
                action="wait until nobody writes to it, then run again: planning looks at it anew",
            )


def _is_same_entry(file: SourceFile, planned: PlannedFile) -> bool:
    return (file.size_bytes, file.mtime_ns) == (planned["size_bytes"], planned["mtime_ns"])


def _is_unchanged(file: SourceFile, planned: PlannedFile) -> bool:
    return (_is_same_entry(file, planned) and not file.etag) or stores.fingerprint(file) == planned["fingerprint"]


def shard_names(plan: Plan) -> list[str]:
    """Return the names of a plan's shards, in their order."""
    return [names.shard_name(plan["corpus"], split_id) for split_id in range(len(plan["shards"]))]


def extend(
    plan: Plan,
    listing: list[SourceFile],
    corpus: Corpus,
    target_bytes: int,
    size_of: Callable[[SourceFile, str], TextSize] = text_size,
) -> Plan:
    """Return a plan with shards for the files of a listing that it does not hold yet; see `plan_corpus`.

    `size_of` says how many bytes of jsonl a file becomes, given the text key.
    """
    if plan["text_key"] != corpus.text_key and any(is_parquet(path) for path in plan["files"]):
        raise DataError(
            f"text_key was {plan['text_key']!r} when parquet files were planned, and is {corpus.text_key!r}",
            where=corpus.where,
            action=f"put it back, or start the corpus over: delete {START_OVER}",
        )
    current = {file.path: file for file in listing}
    renewed = _check_planned(plan, current, corpus.where)
    new = [file for file in listing if file.path not in plan["files"]]
    made_of_each(new, lambda file: check_format(file.path, corpus.where), corpus.where)
    check_compressed(new, current, corpus.where)
    with ThreadPoolExecutor(LOOKED_AT_ONCE) as threads:  # blobs answer one by one, in some ten milliseconds each
        looked_at = threads.map(
            lambda batch: [(stores.fingerprint(file), size_of(file, corpus.text_key)) for file in batch],
            batched(new, 1 if stores.is_blob(corpus.source) else FILES_A_TASK),
        )
        fingerprints, sizes = zip(*chain(*looked_at), strict=True) if new else ((), ())
    added = {file.path: _entry(file, found, size) for file, found, size in zip(new, fingerprints, sizes, strict=True)}
    shards = plan["shards"] + cut(
        [(file.path, size.about) for file, size in zip(new, sizes, strict=True)], target_bytes
    )
    if not shards:
        raise DataError(
            "no file of the corpus holds any text", where=corpus.where, action="fetch the vendor's files again"
        )
    planned = plan["files"] | renewed | added
    return {"corpus": plan["corpus"], "text_key": corpus.text_key, "files": planned, "shards": shards}


def _entry(file: SourceFile, fingerprint: str, size: TextSize) -> PlannedFile:
    """Return what a plan holds of a new file."""
    entry: PlannedFile = {"size_bytes": file.size_bytes, "mtime_ns": file.mtime_ns, "fingerprint": fingerprint}
    if file.content_md5:
        entry["content_md5"] = file.content_md5
    if not can_be_cut(file.path):
        entry["told_bytes"] = size.told
    return entry


def _check_planned(plan: Plan, current: dict[str, SourceFile], where: str) -> dict[str, PlannedFile]:
    """Return the planned files of which there is news: touched, though they hold what they held, or an MD5."""
    renewed: dict[str, PlannedFile] = {}
    for path, planned in plan["files"].items():
        file = current.get(path)
        if file is None:
            raise DataError(
                f"planned file {path} vanished",
                where=where,
                action="put it back: finished shards hold its documents. To drop it for good, start the corpus "
                f"over: delete {START_OVER}",
            )
        if not _is_unchanged(file, planned):
            raise _changed(file, where)
        if file.mtime_ns != planned["mtime_ns"]:  # what was read of it may be so no longer, but for its ends
            renewed[path] = _ends_of(planned, file.mtime_ns)
        elif file.content_md5 and "content_md5" not in planned:
            renewed[path] = planned | {"content_md5": file.content_md5}
    return renewed


def _ends_of(planned: PlannedFile, mtime_ns: int) -> PlannedFile:
    """Return what the ends of a planned file that was touched still tell of it."""
    entry: PlannedFile = {
        "size_bytes": planned["size_bytes"],
        "mtime_ns": mtime_ns,
        "fingerprint": planned["fingerprint"],
    }
    if "told_bytes" in planned:
        entry["told_bytes"] = planned["told_bytes"]
    return entry


def _changed(file: SourceFile, where: object) -> DataError:
    action = "put back what it held, and deliver new text as a new file"
    if file.etag:
        action = (
            "deliver new text as a new blob. Each write changes a blob's ETag: if this one holds again what it held, "
            f"write {file.etag} as its fingerprint into its plan in results/plan"
        )
    return DataError(
        f"planned file {file.path} changed",
        where=where,
        action=f"{action}. To start the corpus over, delete {START_OVER}",
    )


def cut(files: list[tuple[str, int]], target_bytes: int) -> list[PlannedShard]:
    """Cut files into shards of even size, in their order; one that cannot be cut stays whole.

    The number of shards is the total size over the target, rounded, at least one, and each gets an equal part, so
    there is no small last shard. A whole file that passes the end of a part makes its shard larger; the next
    shard then ends at the first multiple of the part that leaves it at least half a part. Nor has a shard more than
    20,000 ranges, so that many small files are more and smaller shards.

    Args:
        files: (path, bytes of jsonl) of each file; empty ones are left out.
        target_bytes: size that a shard aims at.

    Returns:
        The shards, as a plan records them.
    """
    total = sum(size for _, size in files)
    part = total / max(1, round(total / target_bytes))
    shards: list[PlannedShard] = []
    file_begin = end_of_shard = 0
    for path, size in files:
        start = 0
        while start < size:
            position = file_begin + start
            is_full = bool(shards) and len(shards[-1]["ranges"]) == MOST_RANGES
            if position >= end_of_shard or is_full:
                if not shards or is_full or total - position >= part / 2:
                    shards.append({"bytes": 0, "ranges": []})
                end_of_shard = min(total, round(part * (round(position / part) + 1)))
            stop = min(size, end_of_shard - file_begin) if can_be_cut(path) else size
            shards[-1]["bytes"] += stop - start
            shards[-1]["ranges"].append({"path": path, "start": start, "stop": stop if can_be_cut(path) else None})
            start = stop
        file_begin += size
    return shards
