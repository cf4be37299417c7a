"""Check that every document of the vendor files reaches the signature, or is counted where it leaves."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from pretrain_llama import stores
from pretrain_llama.duplicates.record import Copies, read_dropped
from pretrain_llama.errors import DataError
from pretrain_llama.mixture.signature import signed_name
from pretrain_llama.names import HELD_OUT_SUFFIX, PREFIX_SUFFIX
from pretrain_llama.receipts import MergeReceipt, TokenizeReceipt
from pretrain_llama.shards.planned import Plan, PlannedShard, live_shards
from pretrain_llama.tokenization.indexed import Counts, read_counts
from pretrain_llama.vocabulary.promises import kept

SHOWN = 10
NOTHING_DROPPED = Copies(0)


@dataclass
class Ledger:
    """The sums of a corpus, and what does not add up in it."""

    files: int = 0
    shards: int = 0
    lines: int = 0
    documents: int = 0
    held_out_documents: int = 0
    duplicates: int = 0
    duplicate_tokens: int = 0
    withdrawn: int = 0
    blank: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    held_out_tokens: int = 0
    problems: list[str] = field(default_factory=list)

    def check(self, holds: bool, problem: str) -> None:
        """Note a problem unless what should hold does."""
        if not holds:
            self.problems.append(problem)


@dataclass(frozen=True)
class Found:
    """The records of a shard's steps: its receipts, its quarantined lines, the counts of its pairs, the copies dropped.

    `etag` is that of a shard that was joined in a store; None where it was not, or is no longer there.
    """

    merged: MergeReceipt
    etag: str | None
    receipt: TokenizeReceipt
    quarantined: int
    counts: Counts
    held_out: Counts
    dropped: int


def conserve(
    plans: list[str], shards: str, tokenized: str, signature: str, dropped: Mapping[str, Copies] | None = None
) -> dict[str, Any]:
    """Check every hop, and return the sums by corpus and in all, and how far what an expansion promises is kept.

    vendor files    their planned ranges begin at 0, follow each other, and end with the file
    merge           its ranges are those planned; of each plain file, as many bytes were taken as it has; a shard
                    that was joined in a store, where nothing hashed it, is still that blob
    tokenize        as many bytes were read as were merged, and where the merge counted and hashed, as many lines with
                    the same hash; each line is a document, held out or not, or blank, or rejected; the quarantine holds
                    the rejected ones
    .bin/.idx       as many documents and tokens as counted, in the pair to train on and in the one held out
    duplicates      as many documents are dropped as were decided, out of as many as are in the pair
    signature       the counted names of these shards, without what is dropped, and no others

    Args:
        plans: recorded plan of each corpus.
        shards: folder of the merge receipts, or its location in a store.
        tokenized: folder of the pairs, their receipts and quarantines, or its location in a store.
        signature: data_signature.json of that folder.
        dropped: by shard, the copies that are left out of it; None where all are trained on.

    Raises:
        DataError: something does not add up; names the first of it.
    """
    ledgers: dict[str, Ledger] = {}
    names, receipts = [], []
    left_out: Mapping[str, Copies] = dropped or {}
    for path in plans:
        plan = stores.read_json(path)
        ledger = ledgers[plan["corpus"]] = Ledger(files=len(plan["files"]))
        taken: Counter[str] = Counter()
        _check_ranges(plan, ledger)
        with ThreadPoolExecutor(stores.ASKED_AT_ONCE) as threads:
            found = list(
                threads.map(lambda shard: _find(shard, shards, tokenized, shard in left_out), live_shards(plan))
            )
        receipts += [one.receipt for one in found]
        for planned, one in zip(live_shards(plan).values(), found, strict=True):
            names.append(_check_shard(planned, one, ledger, left_out.get(one.receipt.shard, NOTHING_DROPPED)))
            for part in one.merged.ranges:
                if part.stop is not None:
                    taken[part.path] += part.bytes
        for file, count in taken.items():
            size = plan["files"][file]["size_bytes"]
            ledger.check(count == size, f"{count} of the {size} bytes of {file} were merged")
    problems = [problem for ledger in ledgers.values() for problem in ledger.problems]
    signed = stores.read_json(signature)
    if sorted(names) != signed:
        problems.append(f"the signature lists {len(signed)} shards, and not just the {len(names)} that are planned")
    if problems:
        raise DataError(
            f"the documents do not add up, in {len(problems)} places:\n    " + "\n    ".join(problems[:SHOWN]),
            where=tokenized,
            action="delete the shards named here, with all that is made of them, and run again",
        )
    return _sums(ledgers) | {"unchanged": {language: asdict(one) for language, one in kept(receipts).items()}}


def _find(shard: str, shards: str, tokenized: str, is_dropped: bool) -> Found:
    prefix = f"{tokenized}/{shard}{PREFIX_SUFFIX}"
    receipt = TokenizeReceipt.read(f"{prefix}.receipt.json")
    quarantined = stores.count_lines(f"{prefix}.rejected.jsonl")
    merged = MergeReceipt.read(f"{shards}/{shard}.receipt.json")
    held_out = read_counts(f"{tokenized}/{shard}{HELD_OUT_SUFFIX}")
    etag = stores.etag_of(f"{shards}/{shard}.jsonl") if merged.etag else None
    dropped = len(read_dropped(prefix)) if is_dropped else 0
    return Found(merged, etag, receipt, quarantined, read_counts(prefix), held_out, dropped)


def _check_ranges(plan: Plan, ledger: Ledger) -> None:
    ranges: dict[str, list[tuple[int, int | None]]] = defaultdict(list)
    for shard in live_shards(plan).values():
        for part in shard["ranges"]:
            ranges[part["path"]].append((part["start"], part["stop"]))
    for path, file in plan["files"].items():
        size = file["size_bytes"]
        begun = 0
        for start, stop in sorted(ranges[path], key=lambda part: part[0]):
            ledger.check(start == begun, f"bytes {begun} to {start} of {path} are planned twice or not at all")
            begun = size if stop is None else stop
        ledger.check(begun == size, f"bytes {begun} to {size} of {path} are not planned")


def _check_shard(planned: PlannedShard, found: Found, ledger: Ledger, copies: Copies) -> str:
    """Add a shard to the ledger; return its name as the signature has it."""
    merged, receipt, counts = found.merged, found.receipt, found.counts
    shard = merged.shard
    ranges = [{"path": part.path, "start": part.start, "stop": part.stop} for part in merged.ranges]
    ledger.check(ranges == planned["ranges"], f"{shard} was merged from other ranges than planned")
    ledger.check(
        found.etag in (None, merged.etag), f"the jsonl of {shard} was overwritten after it was joined in the store"
    )
    ledger.check(merged.adds_up() and receipt.adds_up(), f"a receipt of {shard} does not add up")
    ledger.check(
        receipt.follows(merged),
        f"{merged.lines} lines, {merged.bytes} bytes were merged into {shard}, {receipt.lines}, "
        f"{receipt.jsonl_bytes} tokenized, or others",
    )
    rejected = sum(receipt.rejected.values())
    ledger.check(
        found.quarantined == rejected,
        f"{rejected} lines of {shard} were rejected, {found.quarantined} are in quarantine",
    )
    ledger.check(
        counts == Counts(receipt.documents, receipt.sequences, receipt.tokens),
        f"the .idx of {shard} counts {counts.documents} documents and {counts.tokens} tokens, its receipt "
        f"{receipt.documents} and {receipt.tokens}",
    )
    held_out = receipt.held_out_documents
    ledger.check(
        found.held_out == Counts(held_out, held_out, receipt.held_out_tokens),
        f"the .idx of what is held out of {shard} counts {found.held_out.documents} documents and "
        f"{found.held_out.tokens} tokens, its receipt {held_out} and {receipt.held_out_tokens}",
    )
    ledger.check(
        found.dropped == copies.count and copies.documents in (0, receipt.documents),
        f"{copies.count} of {copies.documents} documents of {shard} were to be dropped as copies, {found.dropped} of "
        f"{receipt.documents} are",
    )
    ledger.duplicates += copies.count
    ledger.duplicate_tokens += copies.tokens
    ledger.withdrawn += receipt.withdrawn
    ledger.shards += 1
    ledger.lines += receipt.lines
    ledger.documents += receipt.documents
    ledger.held_out_documents += held_out
    ledger.held_out_tokens += receipt.held_out_tokens
    ledger.blank += receipt.blank
    ledger.rejected.update(receipt.rejected)
    ledger.tokens += receipt.tokens
    return signed_name(receipt, copies.counts)


def _sums(ledgers: dict[str, Ledger]) -> dict[str, Any]:
    total = Ledger()
    for ledger in ledgers.values():
        for key, value in vars(ledger).items():
            if isinstance(value, int):
                setattr(total, key, getattr(total, key) + value)
        total.rejected.update(ledger.rejected)
    return {"total": _as_json(total), "corpora": {corpus: _as_json(ledger) for corpus, ledger in ledgers.items()}}


def _as_json(ledger: Ledger) -> dict[str, Any]:
    sums = {key: value for key, value in vars(ledger).items() if key != "problems"}
    return sums | {"rejected": dict(sorted(ledger.rejected.items()))}
