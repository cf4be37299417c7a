"""Order the training sequences of a shard by its seed alone.

A shard's epochs, each with its documents shuffled anew, are one endless stream of tokens. Sequence k is its tokens
k x length to (k + 1) x length, and one more as the last label; it may reach into the next epoch, so no token is left
out, and a shard shorter than a sequence repeats within it. The sequences that begin in an epoch are drawn shuffled
among themselves. The order does not depend on how many sequences are asked for. megatron-core's own order (GPTDataset
of 0.19.2) does, so a longer training, or another mixture, would draw some sequences twice and others never.
"""

from itertools import pairwise

import numpy as np
import torch
from megatron.core.datasets import helpers
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split

DOCUMENTS, SEQUENCES = 0, 1  # what a random state shuffles

Indices = tuple[np.ndarray, np.ndarray, np.ndarray]


def build_indices(lengths: np.ndarray, sequence_length: int, count: int, seed: int) -> Indices:
    """Return megatron-core's three indices of a shard, for its first `count` sequences or more.

    Args:
        lengths: (documents,) int32, tokens in each; their sum is above 0.
        sequence_length: tokens.
        count: sequences that will be drawn; at least 1.
        seed: of the run.

    Returns:
        document_index (documents drawn,) int32; sample_index (sequences + 1, 2) int32, where each begins: position in
        document_index, token; shuffle_index (sequences,) uint32, the order in which they are drawn.
    """
    tokens = int(lengths.sum(dtype=np.int64))
    epochs = (count - 1) * sequence_length // tokens + 1  # that sequences begin in
    bounds = [_ceil_divide(epoch * tokens, sequence_length) for epoch in range(epochs + 1)]
    documents = _documents(lengths, tokens, bounds[-1] * sequence_length + 1, seed)
    reached = int(lengths[documents].sum(dtype=np.int64))
    starts = helpers.build_sample_idx(np.array(lengths), documents, sequence_length, 1, reached)[: bounds[-1] + 1]
    drawn = [
        first + _random(seed, epoch, SEQUENCES).permutation(last - first)
        for epoch, (first, last) in enumerate(pairwise(bounds))
    ]
    return documents, starts.astype(np.int32, copy=False), np.concatenate(drawn).astype(np.uint32)


def _documents(lengths: np.ndarray, tokens: int, needed: int, seed: int) -> np.ndarray:
    """Return the documents of the stream, up to the one that holds its token number `needed`."""
    parts = []
    for epoch in range(_ceil_divide(needed, tokens)):
        order = _random(seed, epoch, DOCUMENTS).permutation(len(lengths)).astype(np.int32)
        left = needed - epoch * tokens
        if left < tokens:
            order = order[: int(np.searchsorted(np.cumsum(lengths[order], dtype=np.int64), left)) + 1]
        parts.append(order)
    return np.concatenate(parts)


def _ceil_divide(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _random(seed: int, epoch: int, what: int) -> np.random.RandomState:
    """Return a random state of its own; RandomState, whose numbers no version of numpy will change."""
    return np.random.RandomState([seed, epoch, what])


class IndexedSequences(GPTDataset):
    """megatron-core's GPTDataset over indices that are given; it turns them into tokens, labels and masks.

    Where reset_attention_mask is on, an item has `documents`, too: (sequence,) int32, the number of each token's
    document in the sequence. megatron-core would look for an end-of-document id instead, which not all shards have.
    """

    def __init__(self, prefix: str, config: GPTDatasetConfig, indices: Indices, split: Split) -> None:
        """Open a pair.

        Args:
            prefix: path without .bin and .idx.
            config: of all datasets of the run.
            indices: as `build_indices` returns them.
            split: train or valid.
        """
        self._indices = indices
        shard = IndexedDataset(prefix)
        super().__init__(shard, prefix, np.arange(len(shard), dtype=np.int32), len(indices[2]), split, config)

    def __getitem__(self, idx: int | None) -> dict[str, torch.Tensor]:
        item = super().__getitem__(idx)
        if self.config.reset_attention_mask:
            item["documents"] = torch.from_numpy(self._documents(idx or 0))
        return item

    def _documents(self, number: int) -> np.ndarray:
        documents, starts, drawn = self._indices
        (first, offset), (last, stop) = starts[drawn[number] : drawn[number] + 2].tolist()
        lengths = self.dataset.sequence_lengths[documents[first : last + 1]].astype(np.int64)
        lengths[-1] = stop + 1  # and the last label
        lengths[0] -= offset
        numbers = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[: self.config.sequence_length]
        return np.pad(numbers, (0, self.config.sequence_length - len(numbers)), constant_values=len(lengths))

    def _build_document_sample_shuffle_indices(self) -> Indices:
        return self._indices

    def __len__(self) -> int:
        return len(self._indices[2])
