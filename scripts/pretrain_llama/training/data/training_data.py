"""Open the training and validation sequences of a run folder."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from megatron.core.datasets import helpers
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.utils import Split

from pretrain_llama.run.evaluations import most_sequences
from pretrain_llama.run.folder import RunFolder
from pretrain_llama.run.phases import Phase
from pretrain_llama.run.ranks import Ranks
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.training.data.batches import BatchReader, MicroBatch
from pretrain_llama.training.data.blend import Blend, BlendPlan, build, remove_others, rounded_up
from pretrain_llama.training.data.sequences import IndexedSequences


@dataclass(frozen=True)
class TokenizerFacts:
    """The few attributes that megatron-core's datasets ask of a tokenizer."""

    vocab_size: int
    unique_identifiers: dict[str, str]
    eod: int = -1  # no id: where documents end, the index tells
    pad: int = -2  # no id; only the last sequence of a validation set is padded


def dataset_config(folder: RunFolder) -> GPTDatasetConfig:
    """Return megatron-core's configuration of all datasets of a run."""
    training = folder.training
    prefixes = [str(folder.prefix(name)) for name in folder.probabilities]
    return GPTDatasetConfig(
        random_seed=training["seed"],
        sequence_length=training["sequence_length_tokens"],
        tokenizer=TokenizerFacts(folder.architecture.vocab_size, {"identity": folder.tokenizer_identity}),
        blend=(prefixes, list(folder.probabilities.values())),
        split="1",
        reset_position_ids=False,
        reset_attention_mask=training["reset_attention_mask"],
        eod_mask_loss=False,
        create_attention_mask=False,
    )


def blend_plan(folder: RunFolder, phase: Phase, length: int) -> BlendPlan:
    """Return all that decides the sequences of a phase; length: sequences that it may need."""
    names = list(folder.probabilities)
    total = sum(folder.probabilities.values())
    return BlendPlan(
        prefixes=tuple(str(folder.prefix(name)) for name in names),
        probabilities=tuple(probability / total for probability in folder.probabilities.values()),
        first=tuple(phase.drawn.get(name, 0) for name in names),
        length=rounded_up(length),
        sequence_length=folder.training["sequence_length_tokens"],
        seed=folder.training["seed"],
        contents=tuple(phase.identity["data"][name] for name in names),
    )


def index_cache(folder: RunFolder) -> Path:
    """Return where the index of a run's sequences is kept: a folder of its own, in its output or on this node."""
    if folder.operation["data_cache"] == "run":
        return folder.output / "index_cache"
    own = hashlib.sha256(str(folder.path.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"pretrain-llama-index-{os.getuid()}" / own


def open_validation(folder: RunFolder) -> dict[str, IndexedSequences]:
    """Return the validation sets by name, each cut to `most_sequences`; none where there is no validation/.

    The sequences of a set are consecutive tokens of its documents in order, the last one padded; of a set with more
    than enough, an even sample of them. Sets with nothing to predict are left out, see `RunFolder.validation_sets`.
    """
    length = folder.training["sequence_length_tokens"]
    found, sets = {}, folder.validation_sets()
    most = most_sequences(folder.run, len(sets))
    for prefix in sets:
        lengths = np.array(IndexedReader(prefix).lengths)
        documents = np.flatnonzero(lengths).astype(np.int32)  # megatron-core asserts that the last one has tokens
        starts = helpers.build_sample_idx(lengths, documents, length, 1, int(lengths.sum(dtype=np.int64)), False)
        count = min(len(starts) - 1, most)
        sample = np.linspace(0, len(starts) - 1, count, endpoint=False).astype(np.uint32)
        indices = (documents, starts, sample)
        found[prefix.name] = IndexedSequences(str(prefix), dataset_config(folder), indices, Split.valid)
    return found


class TrainingData:
    """The sequences of a run, in the order in which it trains on them, and its validation sets, for this process.

    Attributes:
        validation: readers of the validation sets by name.
    """

    def __init__(self, folder: RunFolder, phase: Phase, own: Ranks, device: torch.device) -> None:
        """Prepare; phase: that is trained; own: this process's ranks; device: where the tensors go."""
        self._folder, self._phase, self._own, self._device = folder, phase, own, device
        self._micro_batch_size = folder.training["micro_batch_size_sequences"]
        self.validation = {
            name: BatchReader(sequences, self._micro_batch_size, device)
            for name, sequences in open_validation(folder).items()
        }
        self._reader: BatchReader | None = None

    @property
    def blend(self) -> Blend:
        """The sequences of the phase, which `reach` has opened."""
        return self._blend

    def reach(self, consumed: int) -> None:
        """Make the sequences up to a position available; collective over all processes.

        One process builds the index first, or one of each node, and deletes the one before when nobody uses it.
        """
        self.close()
        plan = blend_plan(self._folder, self._phase, max(1, consumed - self._phase.consumed))
        cache = index_cache(self._folder)
        is_builder = (self._own.local if self._folder.operation["data_cache"] == "node" else self._own.rank) == 0
        if is_builder:
            build(plan, cache)
        dist.barrier()
        self._blend = Blend(plan, dataset_config(self._folder), cache)
        self._reader = BatchReader(self._blend, self._micro_batch_size, self._device)
        dist.barrier()
        if is_builder:
            remove_others(plan, cache)

    def read(self, consumed: int, size: int, next_size: int) -> tuple[Iterator[MicroBatch], int]:
        """Return this process's micro batches of the global batch after `consumed` sequences, and their number.

        Args:
            consumed: sequences before it, of all phases.
            size: sequences in it.
            next_size: sequences in the one after it, which is read meanwhile; 0 reads none.
        """
        assert self._reader, "opened by `reach`"
        batches = self._reader.read(consumed - self._phase.consumed, size, next_size)
        return batches, self._reader.count(size)

    def drawn(self, consumed: int) -> dict[str, int]:
        """Return the sequences of each shard, by counted name, among the first `consumed` of all phases."""
        counts = self._blend.drawn(0, consumed - self._phase.consumed)
        drawn = dict(self._phase.drawn)
        for name, count in zip(self._folder.probabilities, counts.tolist(), strict=True):
            drawn[name] = drawn.get(name, 0) + count
        return drawn

    def close(self) -> None:
        """Stop reading ahead."""
        if self._reader:
            self._reader.close()
