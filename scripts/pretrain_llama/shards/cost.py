"""What a plan will take: tasks, bytes, requests, node hours and money, from sizes in a listing and configured rates.

A shard of J bytes of jsonl takes P of them from plain files, which the store copies by itself, and expands X = J - P
from S stored bytes of compressed and parquet files, which stream through a node. Its pair, .bin and .idx, has
I = J x indexed_per_jsonl bytes. For each tokenizer it is tokenized, named and signed.

    rule                on        tasks                  through a node    copied in the store    requests, to read
    merge_shard         nodes     a shard                S + X             P                      3, and 2 a range of P
    tokenize_shard      nodes     a shard, tokenizer     J + I             0                      7
    sign_data           here      a tokenizer            0                 0                      shards + corpora
    check_conservation  here      a tokenizer            0                 0                      7 shards + corpora + 1
    name_indexed        here      a shard, tokenizer     0                 I                      2

"Here" is the machine that starts the run. Data moves in blocks: one read for each block that is downloaded, one write
for each that is uploaded, one of both for each that the store copies; pieces of files do not share blocks. A file that
is written costs one write more, for its list of blocks, and Snakemake's looks at it: before its task a read and a
listing, which is priced as a write, and after it a read. Named pairs are copied whole, by one request a file, and
inside an account at once. Tasks of a node share its cores and its network, so a task takes this many seconds of a node:

    (start_seconds + requests x request_seconds + copied / copy_rate) / tasks of a node
    + through / network + X / (decompress_rate x cores) + J, if tokenized, / (tokenize_rate x cores)

Requests made here follow each other: also the look at each file that a node wrote. Those of check_conservation go out
several at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Self

from pretrain_llama.configuration import Corpus
from pretrain_llama.conservation import ASKED_AT_ONCE
from pretrain_llama.errors import DataError
from pretrain_llama.shards import plan
from pretrain_llama.shards.sources import FORMATS, can_be_cut, check_format
from pretrain_llama.stores import SourceFile

MB, GB = 10**6, 10**9
# Rules in running order, and the files that a job of each writes: outputs, log and benchmark, as in rules/*.smk.
FILES_WRITTEN = {"merge_shard": 4, "tokenize_shard": 8, "sign_data": 3, "check_conservation": 3, "name_indexed": 4}


@dataclass
class Work:
    """What some tasks take: bytes through nodes and bytes copied in the store, requests, and seconds of whole nodes.

    `longest_seconds` is of the longest task, on a node whose other tasks are busy, too. `here_seconds` are those of the
    machine that starts the run.
    """

    tasks: int = 0
    through_nodes_bytes: int = 0
    copied_bytes: int = 0
    writes: int = 0
    reads: int = 0
    node_seconds: float = 0.0
    longest_seconds: float = 0.0
    here_seconds: float = 0.0

    def add(self, other: Self) -> None:
        """Add the work of other tasks."""
        longest = max(self.longest_seconds, other.longest_seconds)
        for key, value in vars(other).items():
            setattr(self, key, getattr(self, key) + value)
        self.longest_seconds = longest


@dataclass
class CorpusEstimate:
    """A corpus of a listing: its files and bytes as stored, its shards and their bytes of jsonl, and the work by rule.

    `guessed_files` are those whose bytes of jsonl, `guessed_bytes`, a listing does not tell: compressed and parquet.
    """

    corpus: str
    files: int = 0
    stored_bytes: int = 0
    shards: int = 0
    jsonl_bytes: int = 0
    guessed_files: int = 0
    guessed_bytes: int = 0
    work: dict[str, Work] = field(default_factory=dict)


def jsonl_bytes(file: SourceFile, ratios: dict[str, float]) -> int:
    """Return about how many bytes of jsonl a file becomes: its size, if it is plain, or its size x the ratio."""
    match = FORMATS.fullmatch(file.path)
    kind = (match["compression"] or match["parquet"] or "").removeprefix(".")
    return max(1, round(file.size_bytes * ratios[kind])) if kind and file.size_bytes else file.size_bytes


def estimate_corpus(
    corpus: Corpus, files: list[SourceFile], target_bytes: int, tokenizers: int, settings: dict[str, Any]
) -> CorpusEstimate:
    """Return what a corpus takes that is planned, merged, tokenized and named from the beginning.

    Args:
        corpus: its row of the table.
        files: its vendor files.
        target_bytes: size that a shard aims at, in bytes of jsonl.
        tokenizers: number of them.
        settings: `estimate` of the configuration.

    Raises:
        ConfigError: a file of a format that is not read.
        DataError: no file holds any text.
    """
    for file in files:
        check_format(file.path, corpus.place)
    sizes = {file.path: jsonl_bytes(file, settings["ratios"]) for file in files}
    stored = {file.path: file.size_bytes for file in files}
    shards = plan.cut(list(sizes.items()), target_bytes)
    if not shards:
        raise DataError(
            "no file of the corpus holds any text", where=corpus.place, action="fetch the vendor's files again"
        )
    guessed = [path for path in sizes if not can_be_cut(path)]
    estimate = CorpusEstimate(
        corpus.name,
        files=len(files),
        stored_bytes=sum(stored.values()),
        shards=len(shards),
        jsonl_bytes=sum(sizes.values()),
        guessed_files=len(guessed),
        guessed_bytes=sum(sizes[path] for path in guessed),
        work={rule: Work() for rule in FILES_WRITTEN},
    )
    for shard in shards:
        estimate.work["merge_shard"].add(_merge(shard, sizes, stored, settings))
        pair = round(shard["bytes"] * settings["ratios"]["indexed_per_jsonl"])
        for _ in range(tokenizers):
            tokenized = shard["bytes"]
            estimate.work["tokenize_shard"].add(
                _task("tokenize_shard", 7, settings, downloaded=[tokenized], uploaded=[pair], tokenized=tokenized)
            )
            estimate.work["name_indexed"].add(_task_here("name_indexed", 2, settings, copied=pair))
    return estimate


def _merge(shard: dict[str, Any], sizes: dict[str, int], stored: dict[str, int], settings: dict[str, Any]) -> Work:
    copied = [part["stop"] - part["start"] for part in shard["ranges"] if part["stop"] is not None]
    streamed = [part["path"] for part in shard["ranges"] if part["stop"] is None]
    expanded = [sizes[path] for path in streamed]
    downloaded = [stored[path] for path in streamed]
    return _task(
        "merge_shard",
        3 + 2 * len(copied),
        settings,
        copied=copied,
        downloaded=downloaded,
        uploaded=expanded,
        expanded=sum(expanded),
    )


def _task(
    rule: str,
    single_reads: int,
    settings: dict[str, Any],
    *,
    downloaded: Sequence[int] = (),
    uploaded: Sequence[int] = (),
    copied: Sequence[int] = (),
    expanded: int = 0,
    tokenized: int = 0,
) -> Work:
    """Return the work of a task on a node; its pieces of data are given by their bytes."""
    node, rates, files = settings["node"], settings["rates"], FILES_WRITTEN[rule]

    def blocks(pieces: Sequence[int]) -> int:
        return sum(ceil(piece / settings["block_bytes"]) for piece in pieces)

    through = sum(downloaded) + sum(uploaded)
    alone = (
        rates["start_seconds"]
        + (single_reads + 3 * files) * rates["request_seconds"]
        + sum(copied) / (rates["copy_mb_per_second_per_task"] * MB)
    )
    node_seconds = (
        alone / node["tasks"]
        + through / (node["network_mb_per_second"] * MB)
        + expanded / (rates["decompress_mb_per_second_per_core"] * node["cores"] * MB)
        + tokenized / (rates["tokenize_mb_per_second_per_core"] * node["cores"] * MB)
    )
    return Work(
        tasks=1,
        through_nodes_bytes=through,
        copied_bytes=sum(copied),
        writes=2 * files + blocks(uploaded) + blocks(copied),
        reads=single_reads + 2 * files + blocks(downloaded) + blocks(copied),
        node_seconds=node_seconds,
        longest_seconds=node_seconds * node["tasks"],
        here_seconds=files * rates["request_seconds"],
    )


def _task_here(
    rule: str, single_reads: int, settings: dict[str, Any], *, copied: int = 0, reads_at_once: int = 1
) -> Work:
    """Return the work of a task on the machine that starts the run; `copied` bytes of whole files."""
    files = FILES_WRITTEN[rule]
    return Work(
        tasks=1,
        copied_bytes=copied,
        writes=2 * files,
        reads=single_reads + 2 * files,
        here_seconds=(single_reads / reads_at_once + 4 * files) * settings["rates"]["request_seconds"],
    )


def total(corpora: list[CorpusEstimate], tokenizers: int, settings: dict[str, Any]) -> CorpusEstimate:
    """Return the sum over all corpora, with the tasks that belong to none: sign_data and check_conservation."""
    summed = CorpusEstimate("total", work={rule: Work() for rule in FILES_WRITTEN})
    for estimate in corpora:
        for key in ("files", "stored_bytes", "shards", "jsonl_bytes", "guessed_files", "guessed_bytes"):
            setattr(summed, key, getattr(summed, key) + getattr(estimate, key))
        for rule, work in estimate.work.items():
            summed.work[rule].add(work)
    for _ in range(tokenizers):
        summed.work["sign_data"].add(_task_here("sign_data", summed.shards + len(corpora), settings))
        reads = 7 * summed.shards + len(corpora) + 1
        summed.work["check_conservation"].add(
            _task_here("check_conservation", reads, settings, reads_at_once=ASKED_AT_ONCE)
        )
    return summed


def summed_work(estimate: CorpusEstimate) -> Work:
    """Return the work of all rules."""
    work = Work()
    for one in estimate.work.values():
        work.add(one)
    return work


def wall_clock_seconds(estimate: CorpusEstimate, nodes: int, settings: dict[str, Any]) -> tuple[float, float]:
    """Return how long some nodes take, rule after rule, and how long of it there are nodes; their start is not counted.

    A rule's tasks run in waves of nodes x tasks of a node; a wave lasts as long as its mean task on a busy node, and
    a rule at least as long as its longest, and as what is done here meanwhile. There are no nodes while no task needs
    one.
    """
    slots = settings["node"]["tasks"]
    seconds = with_nodes = 0.0
    for work in estimate.work.values():
        waves = ceil(work.tasks / (nodes * slots))
        mean = slots * work.node_seconds / work.tasks
        busy = max(waves * mean, work.longest_seconds)
        seconds += max(busy, work.here_seconds)
        with_nodes += busy
    return seconds, with_nodes


def requests_cost(work: Work, prices: dict[str, Any]) -> float:
    """Return the cost of requests, in the currency of the prices."""
    return (work.writes * prices["per_10000_writes"] + work.reads * prices["per_10000_reads"]) / 10_000


def kept_bytes(estimate: CorpusEstimate, tokenizers: int, settings: dict[str, Any]) -> int:
    """Return the bytes that stay in the store: shards, pairs, and their copies under counted names."""
    return estimate.jsonl_bytes + round(2 * tokenizers * estimate.jsonl_bytes * settings["ratios"]["indexed_per_jsonl"])
