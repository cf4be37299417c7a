"""Blend a run's shards by their probabilities, and cache the blend's index on disk.

megatron-core's BlendedMegatronDatasetBuilder (0.19.2) builds on the first process of all, so that nodes without a
common disk find nothing (blended_dataset.py:140), takes half a written file for a whole one, and opens six files a
shard. The blend here is made by the same function of megatron-core, in the same order; its index is a folder of six
files for all shards together, which appears when it is whole, on each node or on a disk that all share.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from megatron.core.datasets import helpers
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.utils import Split

from pretrain_llama.files import replacing_folder
from pretrain_llama.progress import Progress
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.training.data.sequences import IndexedSequences, build_indices

VERSION = 1  # of the order and of the files: another one is another cache
# The three indices of all shards, one shard after the other; see `build_indices`.
SHARD_FILES = {"documents": (np.int32, ()), "starts": (np.int32, (2,)), "drawn": (np.uint32, ())}


@dataclass(frozen=True)
class BlendPlan:
    """All that decides the sequences of a blend.

    Attributes:
        prefixes: of the shards, without .bin and .idx.
        probabilities: of each, summing to 1.
        first: sequences of each that were drawn before this blend begins.
        length: sequences to draw.
        sequence_length: in tokens.
        seed: of the run.
        contents: of each, the hashes of its identity.
    """

    prefixes: tuple[str, ...]
    probabilities: tuple[float, ...]
    first: tuple[int, ...]
    length: int
    sequence_length: int
    seed: int
    contents: tuple[Any, ...]

    @property
    def key(self) -> str:
        """The name of its cache."""
        return hashlib.sha256(json.dumps([VERSION, *vars(self).values()]).encode()).hexdigest()[:16]


class Blend(torch.utils.data.Dataset):
    """The sequences of a blend, in training order; an item is a dict of (sequence,) tensors."""

    def __init__(self, plan: BlendPlan, config: GPTDatasetConfig, cache: Path) -> None:
        """Open a blend whose index `build` has written to a folder of caches."""
        folder = cache / plan.key
        self._shard_of = np.load(folder / "shard_of.npy", mmap_mode="r")
        self._number_of = np.load(folder / "number_of.npy", mmap_mode="r")
        self._first = plan.first
        lengths = np.load(folder / "lengths.npy")  # (shards, files)
        parts = [
            np.split(np.memmap(folder / name, dtype, "r").reshape(-1, *row), np.cumsum(own)[:-1])
            for (name, (dtype, row)), own in zip(SHARD_FILES.items(), lengths.T, strict=True)
        ]
        self.shards = [
            IndexedSequences(prefix, config, (documents, starts, drawn), Split.train)
            for prefix, documents, starts, drawn in zip(plan.prefixes, *parts, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._shard_of)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        shard = self._shard_of[index]
        return self.shards[shard][self._first[shard] + self._number_of[index]]

    def drawn(self, start: int, stop: int) -> np.ndarray:
        """Return how many of the blend's sequences from start to stop are of each shard: (shards,)."""
        return np.bincount(self._shard_of[start:stop], minlength=len(self.shards))


def build(plan: BlendPlan, cache: Path) -> None:
    """Write the index of a blend to a folder of caches, unless it is there; it appears when it is whole."""
    folder = cache / plan.key
    if not folder.exists():
        with replacing_folder(folder) as beside:
            _write(plan, beside)


def _write(plan: BlendPlan, folder: Path) -> None:
    shard_of, number_of = blend_indices(plan.probabilities, plan.length)
    counts = np.bincount(shard_of, minlength=len(plan.prefixes)).tolist()
    lengths = np.zeros((len(counts), len(SHARD_FILES)), np.int64)
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(len(counts), "shard", "index of the training sequences"))
        files = [stack.enter_context(open(folder / name, "wb")) for name in SHARD_FILES]
        for shard, prefix in enumerate(plan.prefixes):
            wanted = plan.first[shard] + max(1, counts[shard])
            indices = build_indices(IndexedReader(prefix).lengths, plan.sequence_length, wanted, plan.seed)
            for array, file in zip(indices, files, strict=True):
                array.tofile(file)
            lengths[shard] = [len(array) for array in indices]
            progress.advance(1)
    for name, array in {"shard_of": shard_of, "number_of": number_of, "lengths": lengths}.items():
        np.save(folder / f"{name}.npy", array)


def remove_others(plan: BlendPlan, cache: Path) -> None:
    """Delete what was built for other plans, or half built, once nobody has it open."""
    for path in cache.iterdir():
        if path.name != plan.key:
            shutil.rmtree(path, ignore_errors=True)


def rounded_up(length: int) -> int:
    """Return a length for a blend with room for rewinds, so that they do not rebuild its index.

    It is 6 to 33 % more, in steps of a power of two. A longer blend begins as a shorter one does.
    """
    needed = length + length // 16 + 1
    step = 1 << max(0, needed.bit_length() - 3)
    return -(-needed // step) * step


def blend_indices(probabilities: Sequence[float], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the shard of each sequence of a blend, and its number among those of the shard.

    Each is of the shard that is then furthest behind its probability, so a longer blend begins as a shorter one does.
    """
    shard_of, number_of = np.zeros(length, np.int16), np.zeros(length, np.int64)
    helpers.build_blending_indices(shard_of, number_of, list(probabilities), len(probabilities), length, False)
    return shard_of, number_of
