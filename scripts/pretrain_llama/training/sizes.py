"""Whether a run's sizes fit its model and each other; asked before any job runs, and again by the trainer."""

from typing import Any

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.errors import ConfigError


def training_sequences(run: dict[str, Any]) -> int:
    """Return the sequences that a whole run trains on; times sequence_length_tokens, its tokens."""
    return run["training"]["iterations"] * run["training"]["global_batch_size_sequences"]


def check_sizes(run: dict[str, Any], architecture: Architecture, tokenizer_vocab_size: int, place: str) -> None:
    """Check a run's parallel sizes, batch sizes, sequence length and vocabulary.

    Args:
        run: run.yaml.
        architecture: of the checkpoint that the run starts from.
        tokenizer_vocab_size: ids of the run's tokenizer.
        place: path of run.yaml.

    Raises:
        ConfigError: one of them does not fit.
    """
    parallel, training = run["parallel"], run["training"]
    architecture.check_parallel(parallel["tensor"], parallel["pipeline"], f"{place}: parallel")
    micro_batch_count(training, parallel["data"], place)
    if training["sequence_length_tokens"] > architecture.max_positions:
        raise ConfigError(
            f"sequence_length_tokens {training['sequence_length_tokens']} is over the model's "
            f"{architecture.max_positions} positions",
            where=f"{place}: training",
            action="shorten the sequences, or start from a model of a longer context",
        )
    if tokenizer_vocab_size > architecture.vocab_size:
        raise ConfigError(
            f"tokenizer {run['tokenizer']!r} has {tokenizer_vocab_size} ids, checkpoint {run['checkpoint']!r} embeds "
            f"{architecture.vocab_size}",
            where=place,
            action="choose the checkpoint's own tokenizer, or a checkpoint with a vocabulary as large",
        )


def micro_batch_count(training: dict[str, Any], data_parallel: int, place: object) -> int:
    """Return how many micro batches each process computes for a global batch.

    Raises:
        ConfigError: the global batch cannot be cut into equal parts.
    """
    at_once = training["micro_batch_size_sequences"] * data_parallel
    if training["global_batch_size_sequences"] % at_once:
        raise ConfigError(
            f"global_batch_size_sequences {training['global_batch_size_sequences']} is no multiple of {at_once}, "
            "the micro batch size times the data parallel size",
            where=f"{place}: training",
            action="change one of the three",
        )
    return training["global_batch_size_sequences"] // at_once
