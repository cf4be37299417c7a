"""Check that megatron-core can train on a mixture, by applying its rules to the real .bin/.idx files.

Without these checks, megatron-core 0.19.2 fails late or not at all: a weight of 0, or 32,767 datasets, is an
AssertionError without a message; a shard without tokens in a split that is used is an endless loop
(GPTDataset._get_num_epochs); a shard shorter than a sequence is silently repeated until it fills one; too many open
files are an error after minutes.
"""

import resource
from dataclasses import dataclass
from math import fsum
from pathlib import Path

import numpy as np

from pretrain_llama.errors import DataError, listed
from pretrain_llama.files import OTHER_OPEN_FILES, allow_open_files
from pretrain_llama.mixture import megatron_blend
from pretrain_llama.mixture.bounds import harmonic_number, is_possible
from pretrain_llama.mixture.filling import TOLERANCE
from pretrain_llama.mixture.mixture import Mixture, SampledShard
from pretrain_llama.names import PREFIX_SUFFIX
from pretrain_llama.tokenization.indexed import read_counts, read_lengths

MOST_DATASETS = 32_766  # BlendedDataset: their number in the blend is an int16
FILES_A_PREFIX = 6  # measured: that Megatron-LM holds open where it reads its index from the cache; 3 where it builds
MANY_PREFIXES = 500  # measured: 0.6 s to build, on 2 cores
COMPUTE = "compute the mixture anew with scripts/compute_probabilities.py"
JOIN = "join the shards of each domain with scripts/join_indexed.py"


@dataclass(frozen=True)
class Report:
    """The findings of the preflight.

    Attributes:
        prefixes, domains: in the blend.
        sequences: that the training draws.
        megatron_open_files: that each process of Megatron-LM holds; a training of ours holds half, and sees to it.
        open_files_allowed: by `ulimit -n` here; None where nothing limits them.
        build_seconds: that megatron-core's builder took.
        cache_bytes: of the index that it wrote.
        largest_difference: between the sequences that the blend draws of a shard and those wanted.
        drawn: sequences that the blend draws of each shard, by counted name.
        off_by_more_than_one: how many more, or fewer (negative), than are wanted, where that is more than 1.
    """

    prefixes: int
    domains: int
    sequences: int
    megatron_open_files: int
    open_files_allowed: int | None
    build_seconds: float
    cache_bytes: int
    largest_difference: int
    drawn: dict[str, int]
    off_by_more_than_one: dict[str, int]

    @property
    def warning(self) -> str:
        """Say whether Megatron-LM could not open the files where it is allowed as many as this process."""
        needed = self.megatron_open_files + OTHER_OPEN_FILES
        if self.open_files_allowed is None or needed <= self.open_files_allowed:
            return ""
        return (
            f"each process of Megatron-LM needs {needed:,} open files, {self.open_files_allowed:,} are allowed here: "
            f"where it runs, ulimit -n {needed}, or {JOIN}"
        )

    @property
    def advice(self) -> str:
        """Say whether joining shards would help."""
        if self.prefixes < MANY_PREFIXES or self.prefixes < 2 * self.domains:
            return ""
        return (
            f"{self.prefixes:,} prefixes took megatron-core {self.build_seconds:.1f} s, and each process of "
            f"Megatron-LM holds {self.megatron_open_files:,} files open. Joined by domain (scripts/join_indexed.py), "
            f"the same tokens would be {self.domains:,} prefixes."
        )


def check(mixture: Mixture, indexed: Path, split: str, scratch: Path) -> Report:
    """Check a mixture against the files, and build its blend.

    Args:
        mixture: to check.
        indexed: folder of the counted .bin and .idx files.
        split: parts of training, validation and test, as of Megatron's --split: 99,1,0.
        scratch: folder for the temporary index.

    Raises:
        DataError: the files are not those of the mixture, or megatron-core cannot blend them.
        OperatorError: this machine allows too few open files.
    """
    shards, length = mixture.shards, mixture.length
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # before a higher one is asked for
    _check_numbers(mixture)
    _check_files(shards, indexed)
    allow_open_files(len(shards))
    _check_contents(shards, indexed, length.sequence_length_tokens, megatron_blend.ranges_of(split))
    built = megatron_blend.build(
        [str(indexed / name) for name in mixture.by_name],
        [shard.probability for shard in shards],
        length.sequences,
        length.sequence_length_tokens,
        split,
        scratch,
    )
    drawn = dict(zip(mixture.by_name, built.drawn.tolist(), strict=True))
    _check_drawn(mixture, drawn)
    differences = {name: drawn[name] - shard.sequences for name, shard in mixture.by_name.items()}
    return Report(
        prefixes=len(shards),
        domains=len({(shard.name.shard.language, shard.name.shard.domain) for shard in shards}),
        sequences=length.sequences,
        megatron_open_files=FILES_A_PREFIX * len(shards),
        open_files_allowed=None if allowed == resource.RLIM_INFINITY else allowed,
        build_seconds=built.seconds,
        cache_bytes=built.cache_bytes,
        largest_difference=max(map(abs, differences.values())),
        drawn=drawn,
        off_by_more_than_one={name: difference for name, difference in differences.items() if abs(difference) > 1},
    )


def _check_drawn(mixture: Mixture, drawn: dict[str, int]) -> None:
    """Check that each shard is drawn as megatron-core's rule may draw it."""
    harmonic = harmonic_number(len(drawn))
    far = [
        f"{name}: {drawn[name]:,} sequences drawn, {shard.sequences:,} wanted"
        for name, shard in mixture.by_name.items()
        if not is_possible(drawn[name], shard.sequences, shard.probability, harmonic)
    ]
    _refuse(far, "megatron-core's blend", "tell us: this megatron-core blends otherwise than the one that we know")


def _check_numbers(mixture: Mixture) -> None:
    """Check what megatron-core asks of the weights."""
    where = "the mixture"
    zero = [f"{s.name} has probability {s.probability}" for s in mixture.shards if not s.probability > 0]
    _refuse(zero, where, COMPUTE)
    total = fsum(shard.probability for shard in mixture.shards)
    if abs(total - 1) > TOLERANCE:
        _refuse([f"the probabilities sum to {total!r}: some were changed by hand"], where, COMPUTE)
    if len(mixture.shards) > MOST_DATASETS:
        problem = f"{len(mixture.shards):,} shards; megatron-core blends at most {MOST_DATASETS:,}"
        _refuse([problem], where, JOIN)
    if mixture.length.sequence_length_tokens == 1:
        _refuse(["the length of a sequence is not known"], where, f"{COMPUTE} and --run-config")


def _check_files(shards: list[SampledShard], indexed: Path) -> None:
    """Check that both files of each shard are there, that no pair is half, and no shard under other counts, too."""
    files = {path.name for path in indexed.iterdir()} if indexed.is_dir() else set()
    bins = {file.removesuffix(".bin") for file in files if file.endswith(".bin")}
    idxs = {file.removesuffix(".idx") for file in files if file.endswith(".idx")}
    names = {str(shard.name): str(shard.name.shard) for shard in shards}
    there = bins | idxs
    _refuse([f"{name} is missing" for name in names if name not in there], indexed, "run snakemake data")
    half = [f"{name}.bin has no .idx" for name in sorted(bins - idxs)]
    half += [f"{name}.idx has no .bin" for name in sorted(idxs - bins)]
    _refuse(half, indexed, "delete what is left of these pairs, and run snakemake data, which makes them anew")
    sampled = {shard: name for name, shard in names.items()}
    others = ((name, sampled.get(name.partition(PREFIX_SUFFIX)[0], name)) for name in sorted(bins))
    stale = [f"{name} and {wanted} are one shard under two counts" for name, wanted in others if name != wanted]
    _refuse(stale, indexed, "delete the first, which is not in the mixture")


def _check_contents(
    shards: list[SampledShard], indexed: Path, sequence_length: int, ranges: dict[str, tuple[float, float]]
) -> None:
    """Check the counts in the names, and that each part of each shard that is used holds a training sequence."""
    wrong, short = [], []
    needed = sequence_length + 1  # the last token has a label, too
    for shard in shards:
        prefix = f"{indexed}/{shard.name}"
        counts = read_counts(prefix)
        lengths = read_lengths(prefix, counts.sequences)
        in_index = int(lengths.sum(dtype=np.int64))
        if counts != shard.name.counts or in_index != counts.tokens:
            wrong.append(f"{shard.name} holds {counts}, the .idx tc={in_index}")
        for split, (start, stop) in ranges.items():
            # As BlendedMegatronDatasetBuilder cuts.
            part = lengths[round(start * float(len(lengths))) : round(stop * float(len(lengths)))]
            if (tokens := int(part.sum(dtype=np.int64))) < needed:
                short.append(f"{shard.name} has {tokens:,} tokens for {split}; one sequence takes {needed:,}")
    _refuse(wrong, indexed, "tokenize these shards again; their names or files were changed")
    _refuse(short, indexed, f"exclude them, raise min_probability, use fewer splits, or {JOIN}")


def _refuse(problems: list[str], where: object, action: str) -> None:
    """Raise a DataError that names the first of some problems, if there are any."""
    if problems:
        raise DataError(listed(problems, "\n  "), where=where, action=action)
