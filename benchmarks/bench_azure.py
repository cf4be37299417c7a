"""Measure what passes through a client of the store, and its memory, against emulated Azure; print a table.

    make bench-azure

Azurite holds the blobs, in memory. Bytes and requests are those that the proxy before it counted, so they hold for the
real service; seconds do not. The peer of the memory is snakemake-storage-plugin-azure, on the same blob.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from azure_emulator import subscription as names
from azure_emulator.azurite import Azurite
from azure_emulator.service import CONTAINER, EmulatedAzure
from pretrain_llama import stores
from pretrain_llama.configuration import Corpus
from pretrain_llama.shards import plan
from pretrain_llama.shards.merge_in_store import merge_in_store
from pretrain_llama.stores import blob_service
from project import ROOT, Project

MB = 10**6
DEMO = ROOT / "resources" / "demo"
FILE_BYTES = 10 * MB
LISTED_LINE = b'{"text": "Tale %05d."}\n'
# One rule that fetches a blob and stores a copy of it.
SNAKEFILE = """
rule copy:
    input: "in.bin"
    output: "out.bin"
    shell: "cp {input} {output}"
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard-mb", type=int, default=2000, help="size of the large blob, in MB")
    parser.add_argument("--merged-mb", type=int, default=1000, help="size of what is merged, in MB, of files of 10 MB")
    parser.add_argument("--blobs", type=int, default=10_000, help="number of blobs that are listed and previewed")
    return parser.parse_args()


def row(what: str, ours: str, peer: str, ratio: float, goal: str) -> None:
    print(f"| {what} | {ours} | {peer} | {ratio:.4g} | {goal} |", flush=True)


def bench_merging(azure: EmulatedAzure, upload: Callable[[str, bytes], object], files: int) -> None:
    line = b'{"text": "' + b"x" * 989 + b'"}\n'
    for number in range(files):
        upload(f"tales/{number:03d}.jsonl", line * (FILE_BYTES // len(line)))
    corpus = Corpus("en", "books", "tales", "az://vendor/tales/*.jsonl", "text", "this benchmark")
    planned = plan.extend(plan.empty(corpus), stores.list_files(corpus.source, ""), corpus, 1 << 50)
    azure.traffic.reset()
    start = time.perf_counter()
    receipt = merge_in_store(planned, plan.shard_names(planned)[0], f"az://{CONTAINER}/shard.jsonl")
    seconds = time.perf_counter() - start
    count = azure.traffic.count(names.BLOB_HOST)
    through = count.bytes_from_client + count.bytes_to_client
    row(
        f"bytes through the client, of a merge of {receipt.bytes / MB:,.0f} MB",
        f"{through / MB:.2f} MB",
        f"{receipt.bytes / MB:,.0f} MB",
        through / receipt.bytes,
        "≤ 0.01",
    )
    row("requests of that merge, a file", f"{count.requests}", f"{files} files", count.requests / files, "")
    print(f"<!-- the store took {seconds:.1f} s -->")


def bench_listing(azure: EmulatedAzure, upload: Callable[[str, bytes], object], blobs: int) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: upload(f"many/{number:05d}.jsonl", LISTED_LINE % number), range(blobs)))
    azure.traffic.reset()
    start = time.perf_counter()
    found = stores.list_files("az://vendor/many/*.jsonl", "")
    seconds = time.perf_counter() - start
    assert len(found) == blobs
    requests = azure.traffic.count(names.BLOB_HOST).requests
    row(f"requests of listing {blobs:,} blobs", f"{requests}, {seconds:.1f} s", "one a blob", requests / blobs, "")


def bench_preview(scratch: Path, blobs: int) -> None:
    """Preview a shard for each of the listed blobs: with the store, and from a recorded listing without it."""
    scratch.mkdir()
    project = Project(scratch, DEMO / "tokenizer.model", DEMO / "llama")
    project.corpora(["en", "books", "tales", "az://vendor/many/*.jsonl", "text"])
    project.config["shard_size_bytes"] = len(LISTED_LINE % 0)
    project.save()
    project.choose("data_ratio.json", {"books": 1})
    project.choose("lang_prob.json", {"en": 1})
    listed = [sys.executable, "scripts/list_vendor.py", "--output", "listing.tsv"]
    start = time.perf_counter()
    subprocess.run(listed, cwd=scratch, check=True, stdout=subprocess.DEVNULL)
    listing_seconds = time.perf_counter() - start

    def seconds(*options: str) -> float:
        start = time.perf_counter()
        assert project.pending("data", *options)["merge_shard"] == blobs
        return time.perf_counter() - start

    ours, peer = seconds("--profile", "azure-batch"), seconds("--config", "listing=listing.tsv")
    # No plan is recorded, so both plan all blobs: what is more with the store is its listing.
    local = peer + listing_seconds
    what = f"dry-run of {blobs:,} shards: with the store, offline and a listing"
    row(what, f"{ours:.0f} s", f"{local:.0f} s", ours / local, "≤ 1.1")


def peak_memory_mb(provider: str) -> float:
    """Return the peak memory of a snakemake that fetches in.bin and stores out.bin through a storage provider."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text(SNAKEFILE)
        options = ["--cores", "1", "--default-storage-provider", provider]
        options += ["--default-storage-prefix", f"az://{CONTAINER}/memory", "--forceall", "--quiet", "all"]
        options += [f"--storage-{provider}-account-name", names.STORAGE_ACCOUNT]
        process = subprocess.Popen([sys.executable, "-m", "snakemake", *options], cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"snakemake failed with {provider}")
    return usage.ru_maxrss / 1024


def bench_memory(azure: EmulatedAzure, shard_mb: int) -> None:
    block = os.urandom(8 * MB)
    with azure.azurite.client() as client:
        blob = client.get_blob_client(CONTAINER, "memory/in.bin")
        ids = [f"{number:06d}" for number in range(shard_mb // 8)]
        for block_id in ids:
            blob.stage_block(block_id, block)
        blob.commit_block_list(ids)
    ours, peer = peak_memory_mb("azurestream"), peak_memory_mb("azure")
    row(f"peak memory, {shard_mb:,} MB fetched and stored", f"{ours:,.0f} MB", f"{peer:,.0f} MB", ours / peer, "")


def main() -> None:
    args = parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        Azurite(Path(scratch), memory_mb=16_384) as azurite,
        EmulatedAzure(Path(scratch) / "azure", azurite) as azure,
        azurite.client() as client,
    ):
        os.environ |= azure.environment
        vendor, _ = client.create_container("vendor"), client.create_container(CONTAINER)
        blob_service.service.cache_clear()
        print("| what | ours | peer | ratio | goal |\n|---|---|---|---|---|")
        bench_merging(azure, vendor.upload_blob, args.merged_mb * MB // FILE_BYTES)
        bench_listing(azure, vendor.upload_blob, args.blobs)
        bench_preview(Path(scratch) / "project", args.blobs)
        bench_memory(azure, args.shard_mb)


if __name__ == "__main__":
    main()
