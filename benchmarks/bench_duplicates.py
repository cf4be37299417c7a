"""Measure finding copies, dropping and withdrawing documents, against their peers in the same run; print a table.

    python benchmarks/bench_duplicates.py --scratch resources/bench/duplicates

Keys are generated: 16 random bytes a document, one of twenty the same as an earlier one. The peer of finding copies is
pyarrow's group-by, which has all keys in memory, 14 GB at the end; that of withdrawing is a copy of the .bin. Each
figure is of a process of its own: seconds, CPU seconds, peak memory in MB.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from pretrain_llama.duplicates.finding import Pair, find
from pretrain_llama.names import HELD_OUT_SUFFIX, PREFIX_SUFFIX
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.tokenization.indexed import kept_index, writing_indexed
from pretrain_llama.tokenization.keys import KEY_BYTES
from pretrain_llama.withdrawal.pairs import take_out

SIZES = (10_000_000, 30_000_000, 100_000_000)
SHARD_DOCUMENTS = 10_000_000
MEMORY_BYTES = 2_000_000_000
THREADS = 2
INDEX_DOCUMENTS = 2_000_000
WITHDRAWN_DOCUMENTS, DOCUMENT_TOKENS = 2_000_000, 1_000  # 4 GB of .bin
BLOCK = 1 << 20
SHARD = "en_books_tales_split_0000"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for about 15 GB of results, removed")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "SIZE"), help="one measurement, in this process")
    return parser.parse_args()


def write_keys(path: Path, documents: int) -> None:
    """Write random keys, one of twenty of which is one of the first of its block."""
    chance = np.random.default_rng(0)
    with open(path, "wb") as file:
        for first in range(0, documents, BLOCK):
            keys = chance.integers(0, 256, (min(BLOCK, documents - first), KEY_BYTES), np.uint8)
            keys[-(len(keys) // 20) :] = keys[: len(keys) // 20]
            file.write(keys.tobytes())


def read(path: Path, first: int, count: int) -> np.ndarray:
    return np.fromfile(path, np.uint8, count * KEY_BYTES, offset=first * KEY_BYTES).reshape(-1, KEY_BYTES)


def read_from(path: Path, start: int, first: int, count: int) -> np.ndarray:
    return read(path, start + first, count)


def find_ours(scratch: Path, documents: int) -> int:
    """Return the number of copies."""
    pairs = [
        Pair(str(at), min(SHARD_DOCUMENTS, documents - at), partial(read_from, scratch / "keys", at))
        for at in range(0, documents, SHARD_DOCUMENTS)
    ]
    return sum(map(len, find(pairs, MEMORY_BYTES, THREADS, scratch).copies))


def find_pyarrow(scratch: Path, documents: int) -> int:
    """Return the number of copies, by the first of each group."""
    import pyarrow

    halves = np.fromfile(scratch / "keys", "<u8").reshape(-1, 2)
    columns = {"high": halves[:, 0].copy(), "low": halves[:, 1].copy(), "number": np.arange(documents)}
    del halves
    pyarrow.set_cpu_count(THREADS)
    grouped = pyarrow.table(columns).group_by(["high", "low"]).aggregate([("number", "min")])
    return documents - len(grouped)


def index_ours(scratch: Path, documents: int) -> int:
    index = (scratch / f"{SHARD}{PREFIX_SUFFIX}.idx").read_bytes()
    return len(kept_index(index, np.arange(0, documents, 20), scratch))


def withdraw_ours(scratch: Path, documents: int) -> int:
    take_out(scratch, SHARD, read(scratch / f"{SHARD}{PREFIX_SUFFIX}.keys", documents // 2, 1), scratch / "beside")
    return TokenizeReceipt.read(scratch / f"{SHARD}{PREFIX_SUFFIX}.receipt.json").withdrawn


def copy_peer(scratch: Path, _: int) -> int:
    source = scratch / f"{SHARD}{PREFIX_SUFFIX}.bin"
    shutil.copyfile(source, scratch / "copied")
    (scratch / "copied").unlink()
    return source.stat().st_size


MEASURES = {measure.__name__: measure for measure in (find_ours, find_pyarrow, index_ours, withdraw_ours, copy_peer)}


def write_shard(scratch: Path, documents: int) -> None:
    """Write a pair, its keys and its receipt; nothing is held out."""
    lengths = np.full(min(BLOCK // 64, documents), DOCUMENT_TOKENS)
    with writing_indexed(scratch / f"{SHARD}{PREFIX_SUFFIX}", np.dtype(np.uint16)) as writer:
        for first in range(0, documents, len(lengths)):
            part = lengths[: documents - first]
            writer.add_documents(np.random.default_rng(first).integers(3, 500, part.sum(), np.uint16), part)
    with writing_indexed(scratch / f"{SHARD}{HELD_OUT_SUFFIX}", np.dtype(np.uint16)):
        pass
    (scratch / f"{SHARD}{HELD_OUT_SUFFIX}.keys").touch()
    write_keys(scratch / f"{SHARD}{PREFIX_SUFFIX}.keys", documents)
    receipt = TokenizeReceipt(SHARD, "", "bench.00000000", False, False, 500, "uint16")
    receipt.lines = receipt.documents = receipt.sequences = documents
    receipt.tokens = receipt.text_bytes = documents * DOCUMENT_TOKENS
    receipt.write(scratch / f"{SHARD}{PREFIX_SUFFIX}.receipt.json")


def measured(scratch: Path, what: str, size: int) -> tuple[str, float]:
    """Return the figures of a measurement as a cell, and its seconds."""
    here = f"import bench_duplicates; vars(bench_duplicates).update({constants()!r}); bench_duplicates.main()"
    command = [sys.executable, "-c", here, "--scratch", str(scratch), "--measure", what, str(size)]
    folder = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | folder)
    assert process.stdout
    answer = process.stdout.read().split()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {what} {size}")
    seconds, cpu, memory = float(answer[0]), float(answer[1]), usage.ru_maxrss / 1024
    return f"{seconds:.1f} s, {cpu:.1f} CPU s, {memory:,.0f} MB", seconds


def constants() -> dict[str, object]:
    return {name: value for name, value in globals().items() if name.isupper() and isinstance(value, int | tuple)}


def row(what: str, ours: tuple[str, float], peer: tuple[str, float] | None, goal: str) -> None:
    ratio = f"{ours[1] / peer[1]:.2f}" if peer else "-"
    print(f"| {what} | {ours[0]} | {peer[0] if peer else '-'} | {ratio} | {goal} |", flush=True)


def main() -> None:
    args = parse_args()
    if args.measure:
        what, size = args.measure
        start = time.perf_counter()
        MEASURES[what](args.scratch, int(size))
        print(time.perf_counter() - start, time.process_time())
        return
    print("| what | ours | peer | ours / peer | goal |\n|---|---|---|---|---|", flush=True)
    args.scratch.mkdir(parents=True, exist_ok=True)
    for size in SIZES:
        write_keys(args.scratch / "keys", size)
        goal = "60 s, 2 GB" if size == SIZES[-1] else "linear"
        ours, peer = (measured(args.scratch, what, size) for what in ("find_ours", "find_pyarrow"))
        row(f"find copies among {size:,} documents; pyarrow's group-by", ours, peer, goal)
    (args.scratch / "keys").unlink()
    write_shard(args.scratch, WITHDRAWN_DOCUMENTS)
    size = min(INDEX_DOCUMENTS, WITHDRAWN_DOCUMENTS)
    row(f"an .idx without a twentieth of {size:,} documents", measured(args.scratch, "index_ours", size), None, "1 s")
    peer = measured(args.scratch, "copy_peer", 0)
    gigabytes = WITHDRAWN_DOCUMENTS * DOCUMENT_TOKENS * 2 / 1e9
    ours = measured(args.scratch, "withdraw_ours", WITHDRAWN_DOCUMENTS)
    row(f"withdraw a document of a pair of {gigabytes:.1f} GB; a copy of its .bin", ours, peer, "1.5")
    shutil.rmtree(args.scratch)


if __name__ == "__main__":
    main()
