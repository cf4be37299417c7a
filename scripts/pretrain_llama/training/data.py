"""Training sequences: the blend of the mixture, through megatron-core's blended datasets."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from megatron.core import parallel_state
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

from pretrain_llama.training.run_folder import RunFolder

BATCH_KEYS = ("tokens", "labels", "loss_mask", "position_ids")


@dataclass(frozen=True)
class TokenizerFacts:
    """The little that megatron-core's datasets ask of a tokenizer; the identity goes into the names of its caches."""

    vocab_size: int
    unique_identifiers: dict[str, str]
    eod: int = -1  # only asked for where documents reset positions or masks
    pad: int = -2  # no document is padded


def build_dataset(folder: RunFolder) -> torch.utils.data.Dataset:
    """Return the blended training sequences of a whole run; an item has (sequence,) tensors under BATCH_KEYS.

    The index caches go to output/index_cache; building them is collective over all processes.
    """
    training = folder.training
    names = list(folder.probabilities)
    config = GPTDatasetConfig(
        random_seed=training["seed"],
        sequence_length=training["sequence_length_tokens"],
        tokenizer=TokenizerFacts(folder.architecture.vocab_size, {"identity": folder.identity["tokenizer"]}),
        blend_per_split=[
            ([str(folder.prefix(name)) for name in names], list(folder.probabilities.values())),
            None,
            None,
        ],
        path_to_cache=str(folder.output / "index_cache"),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    samples = training["iterations"] * training["global_batch_size_sequences"]
    train, _, _ = BlendedMegatronDatasetBuilder(GPTDataset, [samples, 0, 0], lambda: True, config).build()
    return train


def micro_batches(
    dataset: torch.utils.data.Dataset, consumed: int, micro_batch_size: int, count: int, device: torch.device
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield this data parallel process's micro batches of one global batch, cut as Megatron's sampler cuts them.

    Args:
        dataset: of the whole run.
        consumed: sequences that the run has consumed before this batch.
        micro_batch_size: sequences in a micro batch.
        count: micro batches of each process in a global batch.
        device: where the tensors go.

    Yields:
        (micro_batch_size, sequence) tensors by BATCH_KEYS.
    """
    own, processes = parallel_state.get_data_parallel_rank(), parallel_state.get_data_parallel_world_size()
    for index in range(count):
        start = consumed + (index * processes + own) * micro_batch_size
        items = [dataset[start + offset] for offset in range(micro_batch_size)]
        yield {key: torch.stack([item[key] for item in items]).to(device) for key in BATCH_KEYS}
