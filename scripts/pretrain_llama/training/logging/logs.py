"""Log a training: lines of JSON, TensorBoard events, trackers, and a printed line at intervals."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pretrain_llama.run import account
from pretrain_llama.run.account import Domain
from pretrain_llama.run.log_file import CONSUMPTION, NAME, SAMPLES, VALIDATION, LineFile
from pretrain_llama.training.logging.board import Board
from pretrain_llama.training.logging.layout import layout
from pretrain_llama.training.logging.trackers import Trackers

# TensorBoard shows tags of one prefix together.
GROUPS = {
    "loss": "training",
    "gradient_norm": "training",
    "learning_rate": "training",
    "batch_sequences": "training",
    "consumed_tokens": "progress",
    "trained_tokens": "progress",
    "step_seconds": "speed",
    "tokens_per_second": "speed",
    "tflops_per_second_per_device": "speed",
    "mfu": "speed",
    "memory_bytes": "memory",
    "skipped_steps": "anomalies",
    "rewinds": "anomalies",
}
FILES = (NAME, VALIDATION, SAMPLES, CONSUMPTION)
PRINTED = ("iteration", "loss", "gradient_norm", "learning_rate", "consumed_tokens", "tokens_per_second", "mfu")


class TrainingLog:
    """The log of a run, kept by the first process, on the node whose TensorBoard AzureML shows.

    On resumption, what was logged after the checkpoint is dropped, since it will be done again.
    """

    def __init__(self, output: Path, iteration: int, print_every: int, live: Path | None, run_name: str) -> None:
        """Open the log.

        Args:
            output: writes its .jsonl files and tensorboard/ there.
            iteration: of the checkpoint that the training goes on from.
            print_every: iterations between printed lines, and between what goes to trackers.
            live: local folder for TensorBoard, see board.py.
            run_name: for the trackers.
        """
        self._output, self._live, self._print_every, self._iteration = output, live, print_every, max(0, iteration)
        self._trackers = Trackers(output, run_name)
        self._open(iteration)

    def _open(self, iteration: int) -> None:
        self._files = {name: LineFile(self._output, name, iteration) for name in FILES}
        self._board = Board(self._output / "tensorboard", iteration, self._live)

    def describe(self, domains: Collection[str], readme: Path) -> None:
        """Tell TensorBoard how to group scalars, by {language}_{domain}, and what the run is: its README.md, if any."""
        text = readme.read_text(encoding="utf-8") if readme.exists() else ""
        self._board.describe(layout(domains), text, self._iteration)

    def is_due(self, iteration: int) -> bool:
        """Say whether an iteration is printed."""
        return iteration == 1 or iteration % self._print_every == 0

    def step(self, record: dict[str, Any]) -> None:
        """Log one iteration: its number under "iteration", and numbers by the names of GROUPS."""
        self._files[NAME].write(record)
        iteration = record["iteration"]
        scalars = {f"{group}/{name}": record[name] for name, group in GROUPS.items() if name in record}
        self._board.add(scalars, iteration)
        if self.is_due(iteration):
            self._trackers.add(scalars, iteration)
            print(" | ".join(f"{name} {record[name]:.6g}" for name in PRINTED if name in record), flush=True)

    def validation(self, iteration: int, consumed_tokens: int, losses: dict[str, float]) -> None:
        """Log an evaluation: loss in nats a token by validation set."""
        perplexities = {name: math.exp(min(loss, 700.0)) for name, loss in losses.items()}  # e**710 has no float
        record = {"iteration": iteration, "consumed_tokens": consumed_tokens}
        self._files[VALIDATION].write(record | {"loss": losses, "perplexity": perplexities})
        self._add({"validation_loss": losses, "validation_perplexity": perplexities}, iteration)
        listed = " | ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        print(f"iteration {iteration} | validation loss | {listed}", flush=True)

    def samples(self, iteration: int, texts: list[str]) -> None:
        """Log what the model made of prompts, each with its continuation."""
        self._files[SAMPLES].write({"iteration": iteration, "texts": texts})
        for number, text in enumerate(texts, 1):
            self._board.add_text(f"samples/{number}", text, iteration)
            print(f"iteration {iteration} | sample {number} | {text!r}", flush=True)

    def consumption(self, iteration: int, domains: dict[str, Domain]) -> None:
        """Log what was consumed of each language and domain, by its name, see account.py."""
        record = account.consumption_record(iteration, domains)
        self._files[CONSUMPTION].write(record)
        groups = {"consumed_tokens": "tokens", "trained_tokens": "trained", "epochs": "epochs"}
        self._add({group: record[key] for group, key in groups.items()}, iteration)

    def hook(self, iteration: int, numbers: dict[str, float]) -> None:
        """Log the numbers of a hook that ran on the checkpoint of an iteration."""
        self._add({"hooks": numbers}, iteration)

    def _add(self, groups: dict[str, dict[str, float]], iteration: int) -> None:
        scalars = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
        self._board.add(scalars, iteration)
        self._trackers.add(scalars, iteration)

    def keep(self) -> None:
        """Store everything; called before a checkpoint, since what led to it will not be logged again."""
        for file in self._files.values():
            file.keep()
        self._board.keep()

    def rewind(self, iteration: int) -> None:
        """Go back to an iteration."""
        self.close_files()
        self._open(iteration)

    def close_trackers(self) -> None:
        """End the trackers' runs, which may ask a server for a while."""
        self._trackers.close()

    def close_files(self) -> None:
        """Store and close the files."""
        for file in self._files.values():
            file.close()
        self._board.close()
