"""Evaluate validation sets and sample prompts now and then, and say so while it goes on."""

import time
from datetime import UTC, datetime

from pretrain_llama.files import write_json
from pretrain_llama.run.evaluations import MARKER
from pretrain_llama.run.folder import RunFolder
from pretrain_llama.training.data.batches import BatchReader
from pretrain_llama.training.engine import Engine
from pretrain_llama.training.logging.logs import TrainingLog
from pretrain_llama.training.sampling import Sampler


class Evaluator:
    """The evaluations of a training; every process calls it."""

    def __init__(self, folder: RunFolder, engine: Engine, validation: dict[str, BatchReader]) -> None:
        """Prepare; validation: readers of the sets, by name."""
        self._engine, self._validation = engine, validation
        self._marker = folder.output / MARKER
        self._length = folder.training["sequence_length_tokens"]
        can_sample = folder.manifest.get("frame") is not None  # earlier versions did not note how documents begin
        self._sampler = Sampler(folder, engine) if can_sample and folder.run["sample"]["prompts"] else None

    def run(self, iteration: int, consumed_tokens: int, log: TrainingLog | None) -> None:
        """Evaluate each validation set apart, in nats a token, and let the model continue the prompts.

        Args:
            iteration: optimizer steps done.
            consumed_tokens: by them.
            log: of the first process.
        """
        if log:
            self._announce(iteration)
        began = time.perf_counter()
        losses = {name: self._engine.evaluate(reader) for name, reader in self._validation.items()}
        if log and losses:
            log.validation(iteration, consumed_tokens, losses)
        if self._sampler:
            texts = self._sampler.sample()
            if log:
                log.samples(iteration, texts)
        if log and (losses or self._sampler):
            print(f"evaluated in {time.perf_counter() - began:.1f} s", flush=True)
            self._marker.unlink(missing_ok=True)

    def _announce(self, iteration: int) -> None:
        sequences = sum(reader.sequences for reader in self._validation.values())
        parts = []
        if sequences:
            tokens = sequences * self._length
            parts.append(f"{len(self._validation)} validation sets, {sequences:,} sequences, {tokens:,} tokens")
        if self._sampler:
            parts.append(self._sampler.told)
        if parts:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(self._marker, {"iteration": iteration, "what": "; ".join(parts), "since": now})
            print(f"iteration {iteration} | evaluating {'; '.join(parts)}", flush=True)
