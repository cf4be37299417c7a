"""Choose the numbers of a first configuration: shards, held-out documents, batches, and one pass over the data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.estimate.parameters import count
from pretrain_llama.start.model import Model
from pretrain_llama.start.table import Row
from pretrain_llama.tokenization.texts import Texts

SMALLEST_SHARD, LARGEST_SHARD = 500_000, 40_000_000_000  # bytes
SHARDS = 100
HELD_OUT_BYTES = 10_000_000
LONGEST_SEQUENCE = 4096  # tokens
FEWEST_SEQUENCES, MOST_SEQUENCES = 8, 1024  # in a batch
USUAL_ITERATIONS = 1000
USUAL_BYTES_PER_TOKEN = 4.0
# Highest learning rates to continue with, by parameters: small models take larger ones.
LEARNING_RATES = ((100_000_000, 1.0e-3), (2_000_000_000, 1.0e-4), (math.inf, 3.0e-5))


@dataclass(frozen=True)
class DataSizes:
    """Bytes of jsonl in all, about; of a shard; and the fraction of documents to hold out."""

    about: int
    shard_bytes: int
    held_out_fraction: float


@dataclass(frozen=True)
class TrainingSizes:
    """The numbers of a run that takes each token once, about; `processes`: GPUs here, or 1."""

    tokens: int
    iterations: int
    sequence_length: int
    micro_batch: int
    global_batch: int
    learning_rate: float
    precision: str
    processes: int


def data_sizes(rows: Sequence[Row]) -> DataSizes:
    """Return the sizes for the rows of a table."""
    about = sum(row.about for row in rows)
    fraction = min(0.05, max(0.0001, HELD_OUT_BYTES / about))
    return DataSizes(about, min(LARGEST_SHARD, max(SMALLEST_SHARD, about // SHARDS)), float(f"{fraction:.0e}"))


def training_sizes(rows: Sequence[Row], model: Model, architecture: Architecture, gpus: int) -> TrainingSizes:
    """Return the sizes of a training on the rows; gpus: of this machine."""
    tokens = math.ceil(sum(row.about / _bytes_per_token(row, model) for row in rows))
    length = min(architecture.max_positions, LONGEST_SEQUENCE)
    wanted = tokens / length / USUAL_ITERATIONS
    batch = min(MOST_SEQUENCES, max(FEWEST_SEQUENCES, 1 << math.ceil(math.log2(max(1, wanted)))))
    processes = 1 << int(math.log2(max(1, gpus)))  # so that it divides the batch
    parameters = sum(count(architecture, architecture.vocab_size).values())
    rate = next(rate for most, rate in LEARNING_RATES if parameters < most)
    micro = max(1, min(4 if parameters < LEARNING_RATES[0][0] else 1, batch // processes))
    return TrainingSizes(
        tokens=tokens,
        iterations=max(1, round(tokens / length / batch)),
        sequence_length=length,
        micro_batch=micro,
        global_batch=max(batch, processes * micro),
        learning_rate=rate,
        precision="bf16" if gpus else "fp32",
        processes=processes,
    )


def gpus_here() -> int:
    """Return the number of NVIDIA GPUs that this machine's driver shows."""
    folder = Path("/proc/driver/nvidia/gpus")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def _bytes_per_token(row: Row, model: Model) -> float:
    """Return how many bytes of text become a token, measured on the texts that were looked at."""
    texts = [text.encode(errors="replace") for file in row.files[:10] for text in file.texts[:20]]
    ids, _ = model.tokenizer.reference.encode(Texts.of(texts))
    return sum(map(len, texts)) / len(ids) if len(ids) else USUAL_BYTES_PER_TOKEN
