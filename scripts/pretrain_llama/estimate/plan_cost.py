"""Estimate a plan's tasks, bytes, requests, node hours and money, from a listing's sizes and configured rates.

A shard of J bytes of jsonl takes P of them from plain files, and expands X = J - P from S stored bytes of compressed
and parquet files. Without these, the store joins it by itself; otherwise all of it streams through a node. Its pair,
.bin and .idx, has I = J x indexed_per_jsonl bytes, of which the fraction H is held out. For each tokenizer it is
tokenized, named and signed, and what is held out of a language and domain, a set, is joined.

    rule                on        tasks                through a node    copied in the store    requests, to read
    merge_shard         nodes     a shard, X = 0       0                 P                      3, and 2 a range
                                  a shard, X > 0       S + P + J         0                      3, 1 or 4 a range
    certify_tokenizer   nodes     a tokenizer          0                 0                      3, and 300 s
    tokenize_shard      nodes     a shard, tokenizer   J + I             0                      9
    sign_data           here      a tokenizer          0                 0                      shards + corpora
    check_conservation  here      a tokenizer          0                 0                      8 shards + corpora + 1
    find_duplicates     nodes     a tokenizer          16 a document     0                      7 shards + corpora
    plot_documents      here      a tokenizer          0                 0                      shards + corpora + 1
    name_indexed        here      a shard, tokenizer   0                 I                      2
    join_held_out       nodes     a set, tokenizer     2 H I             0                      2, and 3 a shard

"Here" is the machine that starts the run. What a task takes is in tasks.py. No listing tells the number of documents,
so the bytes of find_duplicates are left out.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from pretrain_llama import configuration
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import DataError
from pretrain_llama.estimate.tasks import FILES_WRITTEN, Work, node_task, task_here
from pretrain_llama.settings import ConfigSettings, EstimateSettings, PricesSettings, RatiosSettings
from pretrain_llama.shards.cutting import Stretch, cut
from pretrain_llama.shards.planned import PlannedShard
from pretrain_llama.shards.sources import can_be_cut, check_format, format_of
from pretrain_llama.stores import ASKED_AT_ONCE, SourceFile

GB = 10**9
CERTIFY_SECONDS = 300  # assumed of a vocabulary of 128,000 with 2 cores; 8,000 took 4.6 on 2026-11-30


@dataclass
class CorpusEstimate:
    """A corpus of a listing: its files and bytes as stored, its shards and their bytes of jsonl, and the work by rule.

    `validation_set` is its language and domain. `guessed_files` are those whose bytes of jsonl, `guessed_bytes`, a
    listing does not tell: compressed and parquet.
    """

    corpus: str
    validation_set: str = ""
    files: int = 0
    stored_bytes: int = 0
    shards: int = 0
    jsonl_bytes: int = 0
    guessed_files: int = 0
    guessed_bytes: int = 0
    work: dict[str, Work] = field(default_factory=dict)


def jsonl_bytes(file: SourceFile, ratios: RatiosSettings) -> int:
    """Return about how many bytes of jsonl a file becomes: its size, if it is plain, or its size x the ratio."""
    ratio = {"": 1.0, ".gz": ratios["gz"], ".zst": ratios["zst"], ".parquet": ratios["parquet"]}[format_of(file.path)]
    return max(1, round(file.size_bytes * ratio)) if file.size_bytes else 0


def load_settings(config: ConfigSettings, where: str | Path) -> EstimateSettings:
    """Return the rates and prices of a config.yaml that has the key `estimate`: of the file it names, or its own.

    Args:
        config: validated.
        where: its file, for the message.

    Raises:
        ConfigError: the file of rates is missing or no YAML, or a key or value is not what the schema allows.
    """
    given = config["estimate"]
    if isinstance(given, str):
        return configuration.validate(configuration.read_keys(given), "estimate", given)
    return configuration.validate(given, "estimate", f"{where}: estimate")


def estimate_corpus(
    corpus: Corpus, files: list[SourceFile], target_bytes: int, tokenizers: int, settings: EstimateSettings
) -> CorpusEstimate:
    """Return what it takes to plan, merge, tokenize and name a corpus from scratch.

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
        check_format(file.path, corpus.where)
    sizes = {file.path: jsonl_bytes(file, settings["ratios"]) for file in files}
    stored = {file.path: file.size_bytes for file in files}
    shards = cut([Stretch(path, 0, size) for path, size in sizes.items()], target_bytes)
    if not shards:
        raise DataError(
            "no file of the corpus holds any text", where=corpus.where, action="fetch the vendor's files again"
        )
    guessed = [path for path in sizes if not can_be_cut(path)]
    estimate = CorpusEstimate(
        corpus.name,
        f"{corpus.language}_{corpus.domain}",
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
                node_task("tokenize_shard", 9, settings, fetched=[tokenized], uploaded=[pair], tokenized=tokenized)
            )
            estimate.work["name_indexed"].add(task_here("name_indexed", 2, settings, copied=pair))
    return estimate


def _merge(shard: PlannedShard, sizes: dict[str, int], stored: dict[str, int], settings: EstimateSettings) -> Work:
    plain = [part["stop"] - part["start"] for part in shard["ranges"] if part["stop"] is not None]
    whole = [part["path"] for part in shard["ranges"] if part["stop"] is None]
    if not whole:
        return node_task("merge_shard", 3 + 2 * len(plain), settings, copied=plain)
    expanded = sum(sizes[path] for path in whole)
    return node_task(
        "merge_shard",
        3 + 4 * len(plain) + len(whole),
        settings,
        read=[*plain, *(stored[path] for path in whole)],
        uploaded=[sum(plain) + expanded],
        expanded=expanded,
    )


def _join_held_out(corpora: list[CorpusEstimate], held_out_fraction: float, settings: EstimateSettings) -> Work:
    """Return the work of joining a validation set."""
    shards = sum(corpus.shards for corpus in corpora)
    jsonl = sum(corpus.jsonl_bytes for corpus in corpora)
    held_out = round(held_out_fraction * jsonl * settings["ratios"]["indexed_per_jsonl"])
    each = [held_out // shards] * shards
    return node_task("join_held_out", 2 + 3 * shards, settings, read=each, uploaded=[held_out])


def total(
    corpora: list[CorpusEstimate], tokenizers: int, held_out_fraction: float, settings: EstimateSettings
) -> CorpusEstimate:
    """Return the sum over all corpora, with the tasks that belong to several: signing, checking, validation sets."""
    sets: dict[str, list[CorpusEstimate]] = defaultdict(list)
    for estimate in corpora:
        sets[estimate.validation_set].append(estimate)
    summed = CorpusEstimate("total", work={rule: Work() for rule in FILES_WRITTEN})
    for estimate in corpora:
        for key in ("files", "stored_bytes", "shards", "jsonl_bytes", "guessed_files", "guessed_bytes"):
            setattr(summed, key, getattr(summed, key) + getattr(estimate, key))
        for rule, work in estimate.work.items():
            summed.work[rule].add(work)
    for _ in range(tokenizers):
        summed.work["certify_tokenizer"].add(node_task("certify_tokenizer", 3, settings, seconds=CERTIFY_SECONDS))
        summed.work["sign_data"].add(task_here("sign_data", summed.shards + len(corpora), settings))
        reads = 8 * summed.shards + len(corpora) + 1
        summed.work["check_conservation"].add(
            task_here("check_conservation", reads, settings, reads_at_once=ASKED_AT_ONCE)
        )
        reads = 7 * summed.shards + len(corpora)
        summed.work["find_duplicates"].add(node_task("find_duplicates", reads, settings))
        reads = summed.shards + len(corpora) + 1
        summed.work["plot_documents"].add(task_here("plot_documents", reads, settings, reads_at_once=ASKED_AT_ONCE))
        for of_a_set in sets.values() if held_out_fraction else ():
            summed.work["join_held_out"].add(_join_held_out(of_a_set, held_out_fraction, settings))
    return summed


def summed_work(estimate: CorpusEstimate) -> Work:
    """Return the work of all rules."""
    work = Work()
    for one in estimate.work.values():
        work.add(one)
    return work


def wall_clock_seconds(estimate: CorpusEstimate, nodes: int, settings: EstimateSettings) -> tuple[float, float]:
    """Return how long some nodes take, rule after rule, and their billed seconds, all nodes together.

    A rule's tasks run in waves of nodes x tasks of a node; a wave lasts as long as its mean task on a busy node, and
    a rule at least as long as its longest, and as what is done here meanwhile. There are no more nodes than tasks need,
    and none while no task needs one. Their start is not counted.
    """
    slots = settings["node"]["tasks"]
    seconds = billed = 0.0
    for work in (work for work in estimate.work.values() if work.tasks):
        waves = ceil(work.tasks / (nodes * slots))
        mean = slots * work.node_seconds / work.tasks
        busy = max(waves * mean, work.longest_seconds)
        seconds += max(busy, work.here_seconds)
        billed += min(nodes, ceil(work.tasks / slots)) * busy
    return seconds, billed


def requests_cost(work: Work, prices: PricesSettings) -> float:
    """Return the cost of requests, in the currency of the prices."""
    return (work.writes * prices["per_10000_writes"] + work.reads * prices["per_10000_reads"]) / 10_000


def kept_bytes(estimate: CorpusEstimate, tokenizers: int, settings: EstimateSettings) -> int:
    """Return the bytes that stay in the store: shards, pairs, and their copies under counted names."""
    return estimate.jsonl_bytes + round(2 * tokenizers * estimate.jsonl_bytes * settings["ratios"]["indexed_per_jsonl"])
