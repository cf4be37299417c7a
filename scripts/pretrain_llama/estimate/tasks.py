"""Estimate the work of one task on Azure: requests, bytes, and node seconds; plan_cost.py says which tasks there are.

Data moves in blocks: one read for each block that is downloaded, one write for each that is uploaded, one of both for
each that the store copies; pieces of files do not share blocks. Programs read in blocks of 8 MiB; Snakemake's storage
moves files in blocks of 16 MiB, and sends those up to 64 MiB whole; the store copies blocks of 100 MiB. A file that is
written costs one write more, for its list of blocks or for all of it, and Snakemake's looks at it: before its task a
read and a listing, which is priced as a write, and after it a read. Named pairs are copied whole, by one request a
file, and inside an account at once. Tasks of a node share its cores and its network, so a task takes this many seconds
of a node:

    (start_seconds + requests x request_seconds + copied / copy_rate) / tasks of a node
    + through / network + X / (decompress_rate x cores) + J, if tokenized, / (tokenize_rate x cores)

Requests made here follow each other: also the look at each file that a node wrote. Those of check_conservation and
plot_documents go out several at once. A program that runs here takes start_here_seconds before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

from pretrain_llama.settings import EstimateSettings
from pretrain_llama.stores.ranged_reader import RANGE_BYTES

MB = 10**6
# As in azurestream (envs/snakemake_plugins), of Azure's client for blobs, and in blobs.py; a test compares them. None
# of the three is imported here: they take seconds, and estimates are made without Azure.
TRANSFER_BYTES, SENT_WHOLE_BYTES, COPY_BYTES = 16 << 20, 64 << 20, 100 << 20
# Rules in running order, and the files that a job of each writes: outputs, log and benchmark, as in rules/*.smk.
FILES_WRITTEN = {
    "merge_shard": 4,
    "certify_tokenizer": 3,
    "tokenize_shard": 8,
    "sign_data": 3,
    "check_conservation": 3,
    "find_duplicates": 3,
    "plot_documents": 3,
    "name_indexed": 4,
    "join_held_out": 4,
}


@dataclass
class Work:
    """The work of some tasks: bytes through nodes and bytes copied in the store, requests, and seconds of whole nodes.

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


def node_task(
    rule: str,
    single_reads: int,
    settings: EstimateSettings,
    *,
    read: Sequence[int] = (),
    fetched: Sequence[int] = (),
    uploaded: Sequence[int] = (),
    copied: Sequence[int] = (),
    expanded: int = 0,
    tokenized: int = 0,
    seconds: float = 0.0,
) -> Work:
    """Return the work of a task on a node; its pieces of data are given by their bytes.

    Its program reads some of them; Snakemake's storage fetches and uploads files; the store copies. `seconds` are of
    what the data does not tell, on a busy node.
    """
    node, rates, files = settings["node"], settings["rates"], FILES_WRITTEN[rule]

    def blocks(pieces: Sequence[int], size: int) -> int:
        return sum(ceil(piece / size) for piece in pieces)

    through = sum(read) + sum(fetched) + sum(uploaded)
    sent = blocks([piece for piece in uploaded if piece > SENT_WHOLE_BYTES], TRANSFER_BYTES)
    alone = (
        seconds
        + rates["start_seconds"]
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
        writes=2 * files + sent + blocks(copied, COPY_BYTES),
        reads=single_reads
        + 2 * files
        + blocks(read, RANGE_BYTES)
        + blocks(fetched, TRANSFER_BYTES)
        + blocks(copied, COPY_BYTES),
        node_seconds=node_seconds,
        longest_seconds=node_seconds * node["tasks"],
        here_seconds=files * rates["request_seconds"],
    )


def task_here(
    rule: str, single_reads: int, settings: EstimateSettings, *, copied: int = 0, reads_at_once: int = 1
) -> Work:
    """Return the work of a task on the machine that starts the run; `copied` bytes of whole files."""
    files, rates = FILES_WRITTEN[rule], settings["rates"]
    return Work(
        tasks=1,
        copied_bytes=copied,
        writes=2 * files,
        reads=single_reads + 2 * files,
        here_seconds=rates["start_here_seconds"]
        + (single_reads / reads_at_once + 4 * files) * rates["request_seconds"],
    )
