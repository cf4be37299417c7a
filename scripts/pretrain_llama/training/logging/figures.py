"""Compute a training's figures from its sizes and its clock: speed, memory, consumption."""

import resource

import torch

from pretrain_llama.estimate.flops import flops_per_token, peak_flops
from pretrain_llama.run.account import Domain, by_domain
from pretrain_llama.run.folder import RunFolder
from pretrain_llama.run.phases import Phase
from pretrain_llama.run.timelines import Position


class Figures:
    """The figures of one training."""

    def __init__(self, folder: RunFolder, phase: Phase, processes: int, device: torch.device) -> None:
        """Prepare; phase: that is trained; processes: devices that share the work; device: this process's."""
        self._sequence_length = folder.training["sequence_length_tokens"]
        self._flops_per_token = flops_per_token(folder.architecture, self._sequence_length)
        self._processes, self._device = processes, device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        self._peak = peak_flops(name, folder.training["precision"])
        self._names = list(phase.drawn | folder.probabilities)

    def step(self, sequences: int, seconds: float, consumed: int, left_out: int) -> dict[str, float]:
        """Return the figures of a step, the last of so many consumed sequences, of which some were left out."""
        return {
            "batch_sequences": sequences,
            "consumed_tokens": consumed * self._sequence_length,
            "trained_tokens": (consumed - left_out) * self._sequence_length,
            **self.speed(sequences, seconds),
            "memory_bytes": self.memory_bytes(),
        }

    def speed(self, sequences: int, seconds: float) -> dict[str, float]:
        """Return tokens and FLOPs a second of a step, and the share of the peak where that is known."""
        tokens_per_second = sequences * self._sequence_length / seconds
        flops = tokens_per_second * self._flops_per_token / self._processes
        figures = {
            "step_seconds": seconds,
            "tokens_per_second": tokens_per_second,
            "tflops_per_second_per_device": flops / 1e12,
        }
        return figures | ({"mfu": flops / self._peak} if self._peak else {})

    def memory_bytes(self) -> int:
        """Return the most memory that this process has taken: of the GPU, or of the machine where there is none."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def consumption(self, position: Position) -> dict[str, Domain]:
        """Return what was consumed of each language and domain, of the shards of all phases."""
        return by_domain(position, self._names, self._sequence_length)
