"""Check a run's sizes against its model and each other, and count the sequences that it trains on.

The workflow checks them before any job runs, and the trainer checks them again.
"""

from typing import Any

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.errors import ConfigError
from pretrain_llama.run.stages import check_stages
from pretrain_llama.settings import ParallelSettings, RunSettings, TrainingSettings

# What run.yaml's words are for megatron-core and Megatron-LM, whose arguments have the same names.
SCHEDULES = {"cosine": "cosine", "constant": "constant", "wsd": "WSD"}
RECOMPUTE: dict[str, dict[str, Any]] = {
    "none": {},
    "selective": {"recompute_granularity": "selective", "recompute_modules": ["mlp"]},
    "full": {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1},
}


def process_count(run: RunSettings) -> int:
    """Return how many processes a run's parallel sizes need."""
    return run["parallel"]["tensor"] * run["parallel"]["pipeline"] * run["parallel"]["data"]


def data_parallel(run: RunSettings) -> int:
    """Return how many parts of a batch are worked on at once: the trainer megatron_lm may cut sequences, too."""
    context = run["megatron_lm"]["arguments"].get("context-parallel-size", 1)
    return run["parallel"]["data"] // context if isinstance(context, int) and context > 1 else run["parallel"]["data"]


def batch_size(training: TrainingSettings, trained: int) -> int:
    """Return the sequences in the optimizer step that comes after `trained` sequences.

    Under ramp-up it grows by one increment each time that an equal part of the ramp-up's length has been trained on
    (Megatron-LM's --rampup-batch-size, until 0.16 of megatron-core).
    """
    full, rampup = training["global_batch_size_sequences"], training["batch_size_rampup"]
    if not rampup:
        return full
    steps = (full - rampup["start_sequences"]) // rampup["increment_sequences"]
    grown = trained * steps // rampup["length_sequences"]
    return min(full, rampup["start_sequences"] + grown * rampup["increment_sequences"])


def batch_sizes(training: TrainingSettings) -> dict[int, int]:
    """Return each batch size of a run, by the sequences that were trained on before it.

    megatron-core's StepBatchsizeNumMicroBatchesCalculator takes the same pairs.
    """
    full, rampup = training["global_batch_size_sequences"], training["batch_size_rampup"]
    if not rampup:
        return {0: full}
    start, increment, length = rampup["start_sequences"], rampup["increment_sequences"], rampup["length_sequences"]
    steps = (full - start) // increment
    return {-(-step * length // steps): start + step * increment for step in range(steps + 1)}


def sequences_after(training: TrainingSettings, iterations: int, trained: int = 0) -> int:
    """Return the sequences that have been trained on when so many optimizer steps follow on `trained` sequences."""
    full = training["global_batch_size_sequences"]
    for done in range(iterations):
        size = batch_size(training, trained)
        if size == full:
            return trained + (iterations - done) * full
        trained += size
    return trained


def training_sequences(run: RunSettings) -> int:
    """Return the sequences that a whole run trains on; times sequence_length_tokens, its tokens."""
    return sequences_after(run["training"], run["training"]["iterations"])


def check_sizes(run: RunSettings, architecture: Architecture, tokenizer_vocab_size: int, where: str) -> None:
    """Check a run's parallel sizes, batch sizes, schedule, sequence length and vocabulary.

    Args:
        run: run.yaml.
        architecture: of the checkpoint that the run starts from.
        tokenizer_vocab_size: ids of the run's tokenizer.
        where: path of run.yaml.

    Raises:
        ConfigError: one of them does not fit.
    """
    parallel, training = run["parallel"], run["training"]
    architecture.check_parallel(parallel["tensor"], parallel["pipeline"], f"{where}: parallel")
    _check_sequence_parallel(parallel, training, where)
    _check_batches(training, data_parallel(run), where)
    _check_schedule(training, where)
    check_stages(training, parallel, architecture, where)
    if training["sequence_length_tokens"] > architecture.max_positions:
        raise ConfigError(
            f"sequence_length_tokens {training['sequence_length_tokens']} is over the model's "
            f"{architecture.max_positions} positions",
            where=f"{where}: training",
            action="shorten the sequences, or start from a model of a longer context",
        )
    if tokenizer_vocab_size > architecture.vocab_size:
        raise ConfigError(
            f"tokenizer {run['tokenizer']!r} has {tokenizer_vocab_size} ids, checkpoint {run['checkpoint']!r} embeds "
            f"{architecture.vocab_size}",
            where=where,
            action="choose the checkpoint's own tokenizer, or a checkpoint with a vocabulary as large",
        )


def _check_sequence_parallel(parallel: ParallelSettings, training: TrainingSettings, where: str) -> None:
    if not parallel["sequence"]:
        return
    if parallel["tensor"] == 1:
        raise ConfigError(
            "sequence parallelism shares work among tensor parallel processes, and tensor is 1",
            where=f"{where}: parallel",
            action="set sequence: false, or tensor to more than 1",
        )
    if training["sequence_length_tokens"] % parallel["tensor"]:
        raise ConfigError(
            f"sequence_length_tokens {training['sequence_length_tokens']} cannot be cut into {parallel['tensor']} "
            "equal parts",
            where=f"{where}: parallel.sequence",
            action="change the length or the tensor parallel size, or set sequence: false",
        )


def _check_batches(training: TrainingSettings, data_parallel: int, where: str) -> None:
    at_once = training["micro_batch_size_sequences"] * data_parallel
    sizes = {"global_batch_size_sequences": training["global_batch_size_sequences"]}
    rampup = training["batch_size_rampup"]
    if rampup:
        sizes |= {f"batch_size_rampup.{key}": rampup[key] for key in ("start_sequences", "increment_sequences")}
        growth = training["global_batch_size_sequences"] - rampup["start_sequences"]
        if growth <= 0 or growth % rampup["increment_sequences"]:
            raise ConfigError(
                f"a batch of {rampup['start_sequences']} sequences does not grow to "
                f"{training['global_batch_size_sequences']} by steps of {rampup['increment_sequences']}",
                where=f"{where}: training.batch_size_rampup",
                action="choose an increment that divides the difference",
            )
    for name, size in sizes.items():
        if size % at_once:
            raise ConfigError(
                f"{name} {size} is no multiple of {at_once}, the micro batch size times the data parallel size",
                where=f"{where}: training",
                action="change one of the three",
            )


def _check_schedule(training: TrainingSettings, where: str) -> None:
    where = f"{where}: training"
    if training["min_learning_rate"] > training["learning_rate"]:
        raise ConfigError(
            f"min_learning_rate {training['min_learning_rate']} is over learning_rate {training['learning_rate']}",
            where=where,
            action="exchange them",
        )
    falls, is_wsd = training.get("decay_iterations"), training["schedule"] == "wsd"
    if is_wsd != (falls is not None):
        raise ConfigError(
            f"schedule {training['schedule']!r} {'needs' if is_wsd else 'has no'} decay_iterations",
            where=where,
            action="add decay_iterations, say 10 % of iterations" if is_wsd else "remove it, or set schedule: wsd",
        )
    shaped = training["warmup_iterations"] + (falls or 0)
    if shaped > training["iterations"] or training["warmup_iterations"] == training["iterations"]:
        raise ConfigError(
            f"{training['iterations']} iterations do not hold {training['warmup_iterations']} of warm-up"
            + (f" and {falls} of decay" if falls else ", with some left at full rate"),
            where=where,
            action="train longer, or shorten warmup_iterations" + (" or decay_iterations" if falls else ""),
        )
