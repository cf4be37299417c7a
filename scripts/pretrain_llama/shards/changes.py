"""Let files leave a plan: those that a vendor corrected or took away, and those that were withdrawn.

The shards that hold any of a file leave with it. Their positions stay taken, and what else they held is planned anew.
"""

import datetime
from collections.abc import Callable, Collection, Iterable, Mapping

from pretrain_llama import stores
from pretrain_llama.errors import DataError, listed
from pretrain_llama.shards.cutting import Stretch
from pretrain_llama.shards.planned import Plan, Range, Retired, live_shards
from pretrain_llama.stores import SourceFile

# Returns those of some shards that are tokenized.
Finished = Callable[[Collection[str]], Collection[str]]
# Planned files that changed, as they are now; None for those that vanished.
Lost = dict[str, SourceFile | None]


def all_of(shards: Collection[str]) -> Collection[str]:
    """Return all shards: nobody knows of any that it is not finished."""
    return shards


def shards_with(plan: Plan, paths: Collection[str]) -> list[str]:
    """Return the shards of a plan that hold any of some files."""
    return [
        shard
        for shard, planned in live_shards(plan).items()
        if any(part["path"] in paths for part in planned["ranges"])
    ]


def check_lost(plan: Plan, lost: Lost, finished: Finished, redelivered: Collection[str], where: str) -> None:
    """Check that no finished shard holds anything of a file that changed or vanished, if nobody said that it may.

    Raises:
        DataError: one does.
    """
    for path, file in lost.items():
        if path in redelivered:
            continue
        holding = shards_with(plan, [path])
        if found := sorted(finished(holding)):
            raise DataError(
                f"planned file {path} {'vanished' if file is None else 'changed'}, and {len(found):,} of the "
                f"{len(holding):,} shards that hold it are finished: {listed(found)}",
                where=where,
                action=_advice(plan["corpus"], path, file),
            )


def _advice(corpus: str, path: str, file: SourceFile | None) -> str:
    taking = f"To take it as it is, and make these shards anew: python scripts/redeliver.py {corpus} '{path}'"
    if file is None:
        return f"put it back. {taking}"
    if not file.etag:
        return f"put back what it held, and deliver new text as a new file. {taking}"
    return (
        "deliver new text as a new blob. Each write changes a blob's ETag: if this one holds again what it held, write "
        f"{file.etag} as its fingerprint into its plan in results/plan. {taking}"
    )


def retire(plan: Plan, paths: Iterable[str], why: str) -> tuple[Plan, list[Range]]:
    """Let files leave a plan, with the shards that hold them.

    Args:
        plan: that holds them.
        paths: of the files.
        why: changed, redelivered or withdrawn.

    Returns:
        The plan, and the ranges of other files that these shards held, in their order.
    """
    paths = set(paths)
    if not paths:
        return plan, []
    leaving = shards_with(plan, paths)
    live = live_shards(plan)
    entry: Retired = {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "why": why,
        "files": {path: file for path, file in plan["files"].items() if path in paths},
        "shards": [int(shard.rpartition("_")[2]) for shard in leaving],
    }
    files = {path: file for path, file in plan["files"].items() if path not in paths}
    left = [part for shard in leaving for part in live[shard]["ranges"] if part["path"] not in paths]
    return plan | {"files": files, "history": [*plan.get("history", []), entry]}, left


def stretch_of(part: Range, current: Mapping[str, SourceFile], size_of: Callable[[SourceFile], int]) -> Stretch:
    """Return a range as it is cut into shards; size_of: the bytes of jsonl of a file that cannot be cut, about."""
    stop = part["stop"] if part["stop"] is not None else max(1, size_of(current[part["path"]]))
    return Stretch(part["path"], part["start"], stop)


def is_withdrawn(plan: Plan, file: SourceFile) -> bool:
    """Say whether a file of a listing is one that was withdrawn, and holds what it held then."""
    entries = [entry for entry in plan.get("history", ()) if entry["why"] == "withdrawn"]
    fingerprints = {entry["files"][file.path]["fingerprint"] for entry in entries if file.path in entry["files"]}
    return bool(fingerprints) and stores.fingerprint(file) in fingerprints


def no_text(plan: Plan, where: str) -> DataError:
    """Return the error that says that a plan has no shard, and why."""
    if any(entry["why"] == "withdrawn" for entry in plan.get("history", ())):
        return DataError(
            f"the corpus {plan['corpus']} was withdrawn",
            where=where,
            action="remove its row, and its domain from the rates of runs if no other corpus has it; or deliver new "
            "files",
        )
    return DataError("no file of the corpus holds any text", where=where, action="fetch the vendor's files again")
