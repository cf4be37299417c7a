"""Trainings whose data or checkpoints are spoilt."""

import math
from pathlib import Path

from trainings import train

POISONED = 40  # sequences before the batch that has no loss: iteration 6


def flip_a_bit(checkpoint: Path) -> None:
    file = max(checkpoint.glob("*.distcp"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def train_on_poison(folder: Path, place: int = POISONED) -> None:
    """Train on data of which the sequences of one batch have no loss; place: sequences of the phase before it."""
    from pretrain_llama.training.data.batches import BatchReader

    read = BatchReader._micro_batch

    def poisoned(self, start: int, stop: int, index: int):
        batch = read(self, start, stop, index)
        if start == place and len(self._dataset) > 40:
            batch["loss_mask"] *= math.nan
        return batch

    BatchReader._micro_batch = poisoned
    train(folder)
