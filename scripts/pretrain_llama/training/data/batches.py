"""Read global batches of sequences ahead in a thread, and cut them for this process."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from megatron.core import parallel_state

# (micro batch, sequence) by name: tokens, labels, loss_mask, position_ids; and documents, where they are masked
MicroBatch = dict[str, torch.Tensor]


class BatchReader:
    """Reads this data parallel process's micro batches of global batches, cut as Megatron's sampler cuts them."""

    def __init__(self, dataset: torch.utils.data.Dataset, micro_batch_size: int, device: torch.device) -> None:
        """Read from a dataset; micro_batch_size: sequences; device: where the tensors go."""
        self._dataset, self._micro_batch_size, self._device = dataset, micro_batch_size, device
        self._rank = parallel_state.get_data_parallel_rank()
        self._processes = parallel_state.get_data_parallel_world_size()
        self._thread = ThreadPoolExecutor(1, "batches")
        self._ahead: tuple[tuple[int, int], Future[list[MicroBatch]]] | None = None

    @property
    def sequences(self) -> int:
        """Sequences in the dataset."""
        return len(self._dataset)  # type: ignore[arg-type]  # torch's Dataset does not say that it has one

    def count(self, size: int) -> int:
        """Return how many micro batches each process has of a global batch of so many sequences."""
        return -(-size // (self._micro_batch_size * self._processes))

    def read(self, start: int, size: int, next_size: int = 0) -> Iterator[MicroBatch]:
        """Return the micro batches of the global batch from sequence start on.

        Args:
            start: sequences of the dataset before this batch.
            size: sequences in it; where they do not fill the last micro batches, masked ones do.
            next_size: sequences in the batch after this one, to be read meanwhile; 0 reads none.
        """
        ahead, self._ahead = self._ahead, None
        batches = ahead[1].result() if ahead and ahead[0] == (start, size) else self._load(start, size)
        if next_size:
            wanted = (start + size, next_size)
            self._ahead = (wanted, self._thread.submit(self._load, *wanted))
        return ({key: value.to(self._device, non_blocking=True) for key, value in batch.items()} for batch in batches)

    def _load(self, start: int, size: int) -> list[MicroBatch]:
        return [self._micro_batch(start, start + size, index) for index in range(self.count(size))]

    def _micro_batch(self, start: int, stop: int, index: int) -> MicroBatch:
        first = start + (index * self._processes + self._rank) * self._micro_batch_size
        # megatron-core's GPTDataset answers None with a sequence whose loss is masked.
        wanted = [number if number < stop else None for number in range(first, first + self._micro_batch_size)]
        items = [self._dataset[number] for number in wanted]
        batch = {key: torch.stack([item[key] for item in items]) for key in items[0]}
        return {key: value.pin_memory() for key, value in batch.items()} if self._device.type == "cuda" else batch

    def close(self) -> None:
        """Stop reading ahead."""
        self._thread.shutdown(cancel_futures=True)
