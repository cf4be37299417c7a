"""Fetch from a store the results that a training here needs: counted shards, validation sets, plans, receipts.

    python scripts/fetch_results.py        # of PRETRAIN_LLAMA_STORE, into results/
    snakemake --dry-run                    # goes on from there: mixture, checkpoint, run folder, training

Typed again, it fetches what is new or was cut off. Files keep the times of their blobs, by which Snakemake knows that
nothing of the data is to be made again.
"""

import argparse
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pretrain_llama import stores
from pretrain_llama.errors import ConfigError, DataError, OperatorError, run_program
from pretrain_llama.files import check_space, read_json, replacing
from pretrain_llama.progress import Progress
from pretrain_llama.shards import plan
from pretrain_llama.stores import SourceFile

# Not what is merged, nor the pairs under their first names, nor what is made of these here.
WANTED = re.compile(
    r"plan/.*|expansions/.*|tokenizers/.*|shards/.*\.receipt\.json|indexed/.*|validation/.*"
    r"|tokenized/.*(\.receipt\.json|\.rejected\.jsonl|/data_signature\.json|/conservation\.json)"
    r"|tokenized/.*(\.keys|\.dropped|/dropped\.json|/duplicates\.json)|withdrawals\.jsonl"
)
FETCHED_AT_ONCE = 8


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    store = os.environ.get("PRETRAIN_LLAMA_STORE", "")
    where = "az://{container}/{prefix}; default: PRETRAIN_LLAMA_STORE"
    parser.add_argument("--store", default=store, required=not store, help=where)
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder to fetch into")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    root = f"{args.store.rstrip('/')}/results/"
    wanted = {args.output / name: blob for name, blob in listed(root).items() if WANTED.fullmatch(name)}
    if not wanted:
        raise DataError(
            "there is nothing of any shard",
            where=root,
            action="make it: snakemake --profile azure-batch; or correct --store",
        )
    check_plans(wanted)
    new = {path: blob for path, blob in wanted.items() if not is_fetched(path, blob)}
    size = sum(blob.size_bytes for blob in new.values())
    args.output.mkdir(parents=True, exist_ok=True)
    check_space(args.output, size)
    with Progress(size, "B", "fetch") as progress, ThreadPoolExecutor(FETCHED_AT_ONCE) as threads:
        for fetched in threads.map(fetch, new, new.values()):
            progress.advance(fetched)
    print(f"{len(new):,} files of {size:,} bytes fetched, {len(wanted) - len(new):,} were here")


def listed(root: str) -> dict[str, SourceFile]:
    """Return what lies below a location, by its path there."""
    try:
        return {file.path.removeprefix(root): file for file in stores.list_files(f"{root}**", "--store")}
    except ConfigError:  # nothing does
        return {}


def check_plans(wanted: dict[Path, SourceFile]) -> None:
    """Check that no other shards of a corpus are planned here.

    Raises:
        OperatorError: they are: files of both would get mixed up.
    """
    plans = {path: blob.path for path, blob in wanted.items() if path.parent.name == "plan" and path.exists()}
    for path, location in plans.items():
        if not plan.goes_on_from(read_json(path), stores.read_json(location)):
            raise OperatorError(
                f"the shards that are planned here are not those of {location}",
                where=path,
                action="fetch into the results of another clone, or remove these",
            )


def is_fetched(path: Path, blob: SourceFile) -> bool:
    """Say whether a file is the blob, by its size and time."""
    if not path.exists():
        return False
    there = path.stat()
    return (there.st_size, there.st_mtime_ns) == (blob.size_bytes, blob.mtime_ns)


def fetch(path: Path, blob: SourceFile) -> int:
    """Write a blob to a file, whole or not at all; return its bytes."""
    with stores.open_binary(blob.path, blob.etag) as source, replacing(path) as file:
        shutil.copyfileobj(source, file, stores.BLOCK_BYTES)
    os.utime(path, ns=(blob.mtime_ns, blob.mtime_ns))
    return blob.size_bytes


if __name__ == "__main__":
    run_program(main)
