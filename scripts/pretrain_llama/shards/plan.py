"""Plan which byte ranges of which vendor files become which shard. Plans are append-only.

A corpus's plan is a JSON file:

    {"corpus": "en_code_python",
     "text_key": "text",
     "files":  {path: {"size_bytes": …, "mtime_ns": …, "fingerprint": …}},      a blob's fingerprint is its ETag;
                                                                                and what alike.py notes of a file
     "shards": [{"bytes": …, "ranges": [{"path": …, "start": 0, "stop": 1000}]}],
     "history": [{"when": …, "why": …, "files": {path: …}, "shards": [0, 3]}]}             what left it: changes.py

The text key, of the table, names the column of parquet files. The position in "shards" is the split id. A range owns
the lines that start in [start, stop), in bytes; "stop" is null for a compressed or parquet file, which is never cut.
New files open new shards; a planned shard never changes. Where a planned file changed or vanished, the shards that hold
it leave the plan, and what else they held is planned anew.
"""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from itertools import batched, chain
from pathlib import Path

from pretrain_llama import files, names, stores
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import DataError, OperatorError, made_of_each
from pretrain_llama.shapes import misfit
from pretrain_llama.shards.changes import (
    Finished,
    Lost,
    all_of,
    check_lost,
    is_withdrawn,
    no_text,
    retire,
    stretch_of,
)
from pretrain_llama.shards.copies import check_compressed
from pretrain_llama.shards.cutting import Stretch, cut
from pretrain_llama.shards.first_documents import check_first_documents
from pretrain_llama.shards.planned import Plan, PlannedFile, PlannedShard, live_shards
from pretrain_llama.shards.sources import TextSize, can_be_cut, check_format, is_parquet, text_size
from pretrain_llama.stores import SourceFile

LOOKED_AT_ONCE = 16
FILES_A_TASK = 64  # of small files, a thread's task costs more than the reading
START_OVER = "its plan in results/plan and its shards in results/shards and results/tokenized"


def plan_corpus(corpus: Corpus, recorded: Plan, target_bytes: int, finished: Finished = all_of) -> Plan:
    """Return a corpus's recorded plan, with shards for the vendor files that it does not hold yet.

    Args:
        corpus: its source is listed.
        recorded: its plan; see `load`.
        target_bytes: size that a shard aims at, in bytes of jsonl.
        finished: returns those of some shards that are tokenized; without it, all count as such.

    Raises:
        ConfigError: the source matches no file, or one of a format that is not read; or the first documents have no
            such text key.
        DataError: a planned file of a finished shard changed or vanished, a new one cannot be read, none holds any
            text, or the text key of planned parquet files changed.
    """
    listing = stores.list_files(corpus.source, corpus.where)
    planned = extend(recorded, listing, corpus, target_bytes, finished=finished)
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
        ranges = [part for shard in live_shards(recorded).values() for part in shard["ranges"]]
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
    """Say whether a plan extends a recorded one: the same files and shards at the same positions, and maybe more.

    A file may have left it, too, which its history then tells.
    """
    history = plan.get("history", [])
    known = {(path, file["fingerprint"]) for entry in [plan, *history] for path, file in entry["files"].items()}
    same_files = all((path, file["fingerprint"]) in known for path, file in recorded["files"].items())
    earlier = recorded.get("history", [])
    same_shards = plan["shards"][: len(recorded["shards"])] == recorded["shards"]
    return same_files and same_shards and history[: len(earlier)] == earlier


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
    return list(live_shards(plan))


def extend(
    plan: Plan,
    listing: list[SourceFile],
    corpus: Corpus,
    target_bytes: int,
    size_of: Callable[[SourceFile, str], TextSize] = text_size,
    finished: Finished = all_of,
    redelivered: Collection[str] = (),
    withdrawn: Collection[str] = (),
) -> Plan:
    """Return a plan with shards for the files of a listing that it does not hold yet; see `plan_corpus`.

    `size_of` says how many bytes of jsonl a file becomes, given the text key. Files that are `redelivered` may have
    changed or vanished though shards of theirs are finished; those `withdrawn` leave as they are.
    """
    if plan["text_key"] != corpus.text_key and any(is_parquet(path) for path in plan["files"]):
        raise DataError(
            f"text_key was {plan['text_key']!r} when parquet files were planned, and is {corpus.text_key!r}",
            where=corpus.where,
            action=f"put it back, or start the corpus over: delete {START_OVER}",
        )
    current = {file.path: file for file in listing}
    renewed, lost = _look_at_planned(plan, current)
    check_lost(plan, lost, finished, {*redelivered, *withdrawn}, corpus.where)
    plan, left = retire(plan, [*lost, *withdrawn], _why(lost, redelivered, withdrawn))
    new = [file for file in listing if file.path not in plan["files"] and not is_withdrawn(plan, file)]
    made_of_each(new, lambda file: check_format(file.path, corpus.where), corpus.where)
    check_compressed(new, current, corpus.where)
    with ThreadPoolExecutor(LOOKED_AT_ONCE) as threads:  # blobs answer one by one, in some ten milliseconds each
        looked_at = threads.map(
            lambda batch: [(stores.fingerprint(file), size_of(file, corpus.text_key)) for file in batch],
            batched(new, 1 if stores.is_blob(corpus.source) else FILES_A_TASK),
        )
        fingerprints, sizes = zip(*chain(*looked_at), strict=True) if new else ((), ())
    added = {file.path: _entry(file, found, size) for file, found, size in zip(new, fingerprints, sizes, strict=True)}
    stretches = [stretch_of(part, current, lambda file: size_of(file, corpus.text_key).about) for part in left]
    stretches += [Stretch(file.path, 0, size.about) for file, size in zip(new, sizes, strict=True)]
    shards = plan["shards"] + cut(stretches, target_bytes)
    planned = plan | {"text_key": corpus.text_key, "files": plan["files"] | renewed | added, "shards": shards}
    if not live_shards(planned):
        raise no_text(planned, corpus.where)
    return planned


def _why(lost: Lost, redelivered: Collection[str], withdrawn: Collection[str]) -> str:
    if withdrawn:
        return "withdrawn"
    return "redelivered" if set(lost) & set(redelivered) else "changed"


def _entry(file: SourceFile, fingerprint: str, size: TextSize) -> PlannedFile:
    """Return what a plan holds of a new file."""
    entry: PlannedFile = {"size_bytes": file.size_bytes, "mtime_ns": file.mtime_ns, "fingerprint": fingerprint}
    if file.content_md5:
        entry["content_md5"] = file.content_md5
    if not can_be_cut(file.path):
        entry["told_bytes"] = size.told
    return entry


def _look_at_planned(plan: Plan, current: dict[str, SourceFile]) -> tuple[dict[str, PlannedFile], Lost]:
    """Return the planned files of which there is news, and those that are lost, as they are now, None if they vanished.

    News are: touched, though they hold what they held, or an MD5.
    """
    renewed: dict[str, PlannedFile] = {}
    lost: Lost = {}
    for path, planned in plan["files"].items():
        file = current.get(path)
        if file is None or not _is_unchanged(file, planned):
            lost[path] = file
        elif file.mtime_ns != planned["mtime_ns"]:  # what was read of it may be so no longer, but for its ends
            renewed[path] = _ends_of(planned, file.mtime_ns)
        elif file.content_md5 and "content_md5" not in planned:
            renewed[path] = planned | {"content_md5": file.content_md5}
    return renewed, lost


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
