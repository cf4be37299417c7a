"""Build a mixture's blend with megatron-core's own builder, before a training does."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import pretrain_llama.library_warnings  # noqa: F401

if TYPE_CHECKING:
    from megatron.core.datasets.blended_dataset import BlendedDataset

SPLITS = ("training", "validation", "test")


@dataclass(frozen=True)
class Blend:
    """The blend that megatron-core built, in numbers.

    Attributes:
        drawn: sequences that the training draws from each prefix, (prefixes,).
        seconds: that building took.
        cache_bytes: of the index that it wrote.
    """

    drawn: np.ndarray
    seconds: float
    cache_bytes: int


@dataclass(frozen=True)
class NoTokenizer:
    """The little that megatron-core's datasets ask of a tokenizer, none of which counts here."""

    vocab_size: int | None = None
    eod: int = -1
    pad: int = -2
    unique_identifiers: tuple[tuple[str, str], ...] = ()


def build(
    prefixes: list[str], probabilities: list[float], sequences: int, sequence_length: int, split: str, scratch: Path
) -> Blend:
    """Build the blend of training sequences as megatron-core does, and count what it draws.

    Its index goes to a temporary folder. The first `sequences` count: megatron-core builds some more than it is asked.

    Args:
        prefixes: of the pairs, as many as probabilities.
        probabilities: each above 0.
        sequences: that the training draws.
        sequence_length: in tokens.
        split: parts of training, validation and test, as of Megatron's --split: 99,1,0.
        scratch: folder for the temporary one.
    """
    with alone(), tempfile.TemporaryDirectory(dir=scratch) as cache:
        start = time.perf_counter()
        dataset = _build(prefixes, probabilities, sequences, sequence_length, split, cache)
        seconds = time.perf_counter() - start
        drawn = np.bincount(dataset.dataset_index[:sequences], minlength=len(prefixes))
        cache_bytes = sum(path.stat().st_size for path in Path(cache).iterdir())
        return Blend(drawn, seconds, cache_bytes)


def ranges_of(split: str) -> dict[str, tuple[float, float]]:
    """Return the part of a shard's sequences, from 0 to 1, that each split which is used takes, as megatron-core cuts.

    Args:
        split: as of Megatron's --split: 99,1,0.
    """
    from megatron.core.datasets import blended_megatron_dataset_config as config

    matrix = config.convert_split_vector_to_split_matrix(config.parse_and_normalize_split(split))
    return {name: bounds for name, bounds in zip(SPLITS, matrix, strict=True) if bounds}


def _build(
    prefixes: list[str], probabilities: list[float], sequences: int, sequence_length: int, split: str, cache: str
) -> "BlendedDataset":
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

    config = GPTDatasetConfig(
        random_seed=0,
        sequence_length=sequence_length,
        tokenizer=NoTokenizer(),
        blend=(prefixes, probabilities),
        split=split,
        path_to_cache=cache,
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    return BlendedMegatronDatasetBuilder(GPTDataset, [sequences, 0, 0], lambda: True, config).build()[0]


@contextmanager
def alone() -> Iterator[None]:
    """Act as the only process of a group: with a cache, megatron-core's blend asks for its rank."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()
