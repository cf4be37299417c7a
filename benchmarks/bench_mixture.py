"""Measure the mixture's programs against their goals and peers, in the same run; print a table of ratios.

    python benchmarks/bench_mixture.py --scratch resources/bench/mixture

Times are without imports, the medians of some rounds in which ours and the peer take turns: seconds, then CPU seconds,
and the ratios of both. The peer of the pre-flight is megatron-core's own builder of the same blend, as a training calls
it, and what it leaves behind is deleted off the clock; ours deletes its own on it. The peer of joining is add_index.
"""

import argparse
import contextlib
import gc
import io
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import compute_probabilities
from pretrain_llama.files import write_json
from pretrain_llama.mixture import megatron_blend, preflight
from pretrain_llama.mixture.mixture import Mixture
from pretrain_llama.names import CountedName, parse_shard
from pretrain_llama.tokenization.indexed import writing_indexed
from pretrain_llama.tokenization.joining import join, joined_counts

SHARDS, PREFIXES, DOMAINS = 10_000, 2_000, 20
DOCUMENTS, MOST_TOKENS = 50, 100  # of a prefix, of a document
RUN = {
    "tokenizer": "bench",
    "checkpoint": "bench",
    "training": {
        "iterations": 400,
        "global_batch_size_sequences": 100,
        "micro_batch_size_sequences": 1,
        "sequence_length_tokens": 64,
        "learning_rate": 1.0,
    },
}
ALL = "100,0,0"
JOINED, JOINED_DOCUMENTS = 8, 250_000  # pairs; 200 tokens a document: 100 MB each

Times = tuple[float, float]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for about 3 GB of results, removed")
    parser.add_argument("--rounds", type=int, default=5, help="times that each is run")
    return parser.parse_args()


def in_turn(rounds: int, scratch: Path, *measured: Callable[[Path], object]) -> list[Times]:
    """Return the medians of seconds and of CPU seconds of each, which is given an empty folder."""
    times: list[list[Times]] = [[] for _ in measured]
    for _ in range(rounds):
        for own, run in zip(times, measured, strict=True):
            gc.collect()  # what the one before left is not this one's to clear
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                start, cpu_start = time.perf_counter(), time.process_time()
                result = run(Path(folder))
                own.append((time.perf_counter() - start, time.process_time() - cpu_start))
                del result
    return [tuple(map(statistics.median, zip(*own, strict=True))) for own in times]


def row(what: str, ours: Times, peer: Times | None, goal: str) -> None:
    theirs = f"{peer[0]:.2f} s, {peer[1]:.2f} s" if peer else ""
    ratios = f"{ours[0] / peer[0]:.2f}, {ours[1] / peer[1]:.2f}" if peer else ""
    print(f"| {what} | {ours[0]:.2f} s, {ours[1]:.2f} s | {theirs} | {ratios} | {goal} |", flush=True)


def compute(folder: Path, names: list[str]) -> Mixture:
    """Run compute_probabilities.py, in this process."""
    files = {
        "--signature": [f"{name}.bin" for name in names],
        "--data-ratio": {f"d{number}": 1 + number / 10 for number in range(DOMAINS)},
        "--language-probability": {"en": 1},
        "--run-config": RUN,
    }
    words = ["compute_probabilities.py", "--output-dir", str(folder / "mixture")]
    for option, value in files.items():
        write_json(folder / f"{option}.json", value)
        words += [option, str(folder / f"{option}.json")]
    sys.argv = words
    with contextlib.redirect_stdout(io.StringIO()):
        compute_probabilities.main()
    return Mixture.read(folder / "mixture")


def write_pair(folder: Path, shard: str, lengths: np.ndarray) -> str:
    """Write a counted pair; return its name."""
    name = str(CountedName(parse_shard(shard), len(lengths), len(lengths), int(lengths.sum())))
    with writing_indexed(folder / name, np.dtype(np.uint16)) as writer:
        writer.add_documents(np.full(lengths.sum(), 7, np.uint16), lengths)
    return name


def bench_computing(folder: Path, rounds: int) -> None:
    domains = [f"d{number % DOMAINS}" for number in range(SHARDS)]
    names = [
        f"en_{domain}_x_split_{number:05d}_text_document_dc=1_sc=1_tc={10**9 + number}"
        for number, domain in enumerate(domains)
    ]
    (ours,) = in_turn(rounds, folder, lambda _: compute(folder, names))
    row(f"compute_probabilities, {SHARDS:,} shards", ours, None, "≤ 1 s")


def megatrons_builder(mixture: Mixture, indexed: Path) -> Callable[[Path], object]:
    """Return what builds a mixture's blend as a training with megatron-core does, with its index in a folder."""
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

    prefixes = [str(indexed / name) for name in mixture.by_name]
    weights = [shard.probability for shard in mixture.shards]
    sizes = [mixture.length.sequences, 0, 0]

    def build(cache: Path) -> object:
        config = GPTDatasetConfig(
            random_seed=0,
            sequence_length=mixture.length.sequence_length_tokens,
            tokenizer=megatron_blend.NoTokenizer(),
            blend=(prefixes, weights),
            split=ALL,
            path_to_cache=str(cache),
            reset_position_ids=False,
            reset_attention_mask=False,
            eod_mask_loss=False,
            create_attention_mask=False,
        )
        with megatron_blend.alone():
            return BlendedMegatronDatasetBuilder(GPTDataset, sizes, lambda: True, config).build()

    return build


def bench_checking(folder: Path, rounds: int) -> None:
    random = np.random.default_rng(0)
    indexed, joined = folder / "indexed", folder / "joined"
    names = [
        write_pair(indexed, f"en_d{n % DOMAINS}_x_split_{n:04d}", random.integers(10, MOST_TOKENS, DOCUMENTS))
        for n in range(PREFIXES)
    ]
    mixture = compute(folder, names)
    own_builder = megatrons_builder(mixture, indexed)
    in_turn(1, folder, own_builder)  # fills the page cache
    ours, builder = in_turn(
        rounds, folder, lambda scratch: preflight.check(mixture, indexed, ALL, scratch), own_builder
    )
    row(f"check_mixture, {PREFIXES:,} prefixes, against megatron-core's builder", ours, builder, "≤ 1.2")

    for number in range(DOMAINS):
        parts = [indexed / name for name in names if name.startswith(f"en_d{number}_")]
        counts = joined_counts(parts)
        shard = parse_shard(f"en_d{number}_x_split_0000")
        join(parts, joined / str(CountedName(shard, counts.documents, counts.sequences, counts.tokens)))
    by_domain = compute(folder, [path.name.removesuffix(".bin") for path in sorted(joined.glob("*.bin"))])
    (ours,) = in_turn(rounds, folder, lambda scratch: preflight.check(by_domain, joined, ALL, scratch))
    row(f"the same tokens joined to {DOMAINS} prefixes, against the builder of {PREFIXES:,}", ours, builder, "")


def bench_joining(folder: Path, rounds: int) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    lengths = np.full(JOINED_DOCUMENTS, 200)
    parts = [folder / write_pair(folder, f"en_large_x_split_{number:04d}", lengths) for number in range(JOINED)]

    def add_index(output: Path) -> None:
        builder = IndexedDatasetBuilder(str(output / "theirs.bin"), dtype=np.uint16)
        for part in parts:
            builder.add_index(str(part))
        builder.finalize(str(output / "theirs.idx"))

    ours, theirs = in_turn(rounds, folder, lambda output: join(parts, output / "ours"), add_index)
    row(f"join_indexed, {JOINED} pairs of 100 MB, against add_index", ours, theirs, "")


def main() -> None:
    args = parse_args()
    shutil.rmtree(args.scratch, ignore_errors=True)
    args.scratch.mkdir(parents=True)
    print("| what | ours | peer | ratios | goal |\n|---|---|---|---|---|")
    for bench in (bench_computing, bench_checking, bench_joining):
        bench(args.scratch, args.rounds)
    shutil.rmtree(args.scratch)


if __name__ == "__main__":
    main()
