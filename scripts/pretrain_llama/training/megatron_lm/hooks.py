"""Keep this project's edges around Megatron-LM's training: its log, its checkpoints, its evaluations.

Megatron-LM 0.19.2 offers no callbacks; it looks its functions up in megatron.training.training, where `Hooks.install`
puts ours around seven of them. Each calls the one that was there.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch.distributed as dist
from megatron.core import dist_checkpointing
from megatron.core.optimizer import USING_PYTORCH_OPTIMIZER
from megatron.training import checkpointing, get_args
from megatron.training import training as megatron_lm

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.run.checkpoint_files import prune
from pretrain_llama.run.folder import RunFolder
from pretrain_llama.run.history import History
from pretrain_llama.run.timelines import Position
from pretrain_llama.training.distributed_optimizer import load_without_steps
from pretrain_llama.training.logging.figures import Figures
from pretrain_llama.training.logging.logs import TrainingLog
from pretrain_llama.training.megatron_lm.steps import LOSS, ValidationBatches
from pretrain_llama.training.optimizer import after_loading, before_loading, prepare
from pretrain_llama.training.saving import CheckpointWriter

# What manifests tell of anomalies, which Megatron-LM stops at: there are none that a training has gone on from.
CALM = {"skipped_steps": 0, "skips_in_a_row": 0, "anomalies": {"losses": [], "norms": []}}


@dataclass
class Hooks:
    """What is done around Megatron-LM's functions, on this process.

    Attributes:
        folder: of the run.
        timeline: what manifests say of the one that is trained.
        drawn: returns the sequences of each shard among so many of all phases.
        log, figures: on the process that logs, which is Megatron-LM's last, since it knows the loss; else None.
        schedule: returns the schedule of an optimizer where Megatron-LM's own would not go on from earlier phases.
        iteration: optimizer steps done.
    """

    folder: RunFolder
    timeline: dict[str, Any]
    drawn: Callable[[int], dict[str, int]]
    log: TrainingLog | None
    figures: Figures
    schedule: Callable[[Any], Any] | None
    iteration: int

    def install(self) -> None:
        """Put them around Megatron-LM's functions, for the rest of the process."""
        self._checkpoints, self._history = self.folder.output / "checkpoints", History(self.folder.output)
        self._evaluated = self._saved_at = -1
        self._losses: list[float] = []
        self._writer: CheckpointWriter | None = None
        for name in ("train", "train_step", "evaluate", "evaluate_and_print_results", "save_checkpoint"):
            self._around(name)
        self._around("get_megatron_optimizer")
        self._around("build_pretraining_data_loader")
        if self.schedule:
            megatron_lm.get_optimizer_param_scheduler = self.schedule

    def _around(self, name: str) -> None:
        theirs, ours = getattr(megatron_lm, name), getattr(self, f"_{name}")
        setattr(megatron_lm, name, wraps(theirs)(partial(ours, theirs)))

    def _get_megatron_optimizer(self, theirs: Callable, *args: Any, **named: Any) -> Any:
        optimizer = theirs(*args, **named)
        prepare(optimizer)
        if USING_PYTORCH_OPTIMIZER:
            load_without_steps()
        load = optimizer.load_state_dict

        def load_state_dict(saved: dict[str, Any]) -> None:
            before_loading(saved, self.folder.training)
            load(saved)
            after_loading(optimizer)

        optimizer.load_state_dict = load_state_dict
        return optimizer

    def _build_pretraining_data_loader(self, theirs: Callable, dataset: Any, *args: Any) -> Any:
        """Read validation sets in this process: else each of them would keep processes of its own all the time."""
        options = get_args()
        workers = options.num_workers
        options.num_workers = 0 if isinstance(dataset, ValidationBatches) else workers
        loader = theirs(dataset, *args)
        options.num_workers = workers
        return loader

    def _train(self, theirs: Callable, *args: Any, **named: Any) -> Any:
        """Evaluate what a run begins with, as our own trainer does."""
        step, model, _, _, _, validation, _, config = args[:8]
        if self.iteration == 0 and get_args().do_valid:
            parallel = {name: named[name] for name in ("pg_collection", "p2p_communicator")}
            megatron_lm.evaluate_and_print_results("the start", step, validation, model, 0, None, config, **parallel)
        return theirs(*args, **named)

    def _train_step(
        self, theirs: Callable, step: Any, batches: Any, model: Any, optimizer: Any, *args: Any, **named: Any
    ) -> Any:
        began, rate = time.perf_counter(), optimizer.param_groups[0]["lr"]  # which Megatron-LM logs a step later
        result = theirs(step, batches, model, optimizer, *args, **named)
        losses, skipped, _, ends, _, norm, *_ = result
        if self._writer:
            self._writer.finish(wait=False)
        if not (skipped or ends):
            self.iteration = named["iteration"] + 1
            if self.log:
                self._report(losses[LOSS].item(), float(norm), rate, time.perf_counter() - began)
        return result

    def _report(self, loss: float, norm: float, rate: float, seconds: float) -> None:
        size = megatron_lm.get_current_global_batch_size()
        consumed, length = get_args().consumed_train_samples + size, self.folder.training["sequence_length_tokens"]
        assert self.log, "of the process that logs"
        self.log.step(
            {
                "iteration": self.iteration,
                "loss": loss,
                "gradient_norm": norm,
                "learning_rate": rate,
                "batch_sequences": size,
                "consumed_tokens": consumed * length,
                "trained_tokens": consumed * length,
                **self.figures.speed(size, seconds),
                "memory_bytes": self.figures.memory_bytes(),
                "skipped_steps": 0,
                "rewinds": 0,
            }
        )
        if self.log.is_due(self.iteration) or self.iteration == self.folder.training["iterations"]:
            self.log.consumption(self.iteration, self.figures.consumption(self._position(consumed)))

    def _position(self, consumed: int) -> Position:
        return Position(consumed, self.drawn(consumed), {})

    def _evaluate(self, theirs: Callable, *args: Any, **named: Any) -> Any:
        result = theirs(*args, **named)
        if result[0]:
            self._losses.append(result[0][LOSS].item())
        return result

    def _evaluate_and_print_results(self, theirs: Callable, *args: Any, **named: Any) -> None:
        """Log an evaluation, whole; the one after the last step is not done again at the end."""
        if self._evaluated == self.iteration:
            return
        self._evaluated, self._losses = self.iteration, []
        options = get_args()
        limit, options.exit_duration_in_mins = options.exit_duration_in_mins, None  # it would stop half done
        theirs(*args, **named)
        options.exit_duration_in_mins = limit
        names = options.validation_set_names
        if self.log:
            consumed = get_args().consumed_train_samples * self.folder.training["sequence_length_tokens"]
            self.log.validation(self.iteration, consumed, dict(zip(names, self._losses, strict=True)))

    def _save_checkpoint(self, theirs: Callable, iteration: int, *args: Any, **named: Any) -> None:
        """Have Megatron-LM collect what it saves, and write that as our own checkpoints are: beside, hashed, named."""
        if self._saved_at == iteration:
            return
        self._saved_at = iteration
        if self.log:
            self.log.keep()
        options = get_args()
        with tempfile.TemporaryDirectory() as scratch, _writing_with(partial(self._write, iteration)):
            options.save = scratch  # its tracker would name what is not yet whole
            try:
                theirs(iteration, *args, **named)
            finally:
                options.save = str(self._checkpoints)

    def _write(self, iteration: int, state: dict[str, Any], _: str, __: Any, **options: Any) -> None:
        get_args().save = str(self._checkpoints)  # as the checkpoint keeps it
        if self._writer is None:  # whose strategy needs Megatron-LM's process groups
            self._writer = CheckpointWriter(self._checkpoints, self.folder.operation["save_in_background"])
        facts = {
            **self.timeline,
            "iteration": iteration,
            **vars(self._position(get_args().consumed_train_samples)),
            "distributed_optimizer": self.folder.run["parallel"]["distributed_optimizer"],
            **CALM,
        }
        kept = {key: value for key, value in options.items() if key not in ("async_sharded_save", "async_strategy")}
        self._writer.write(state, facts, self._saved, **kept)

    def _saved(self, checkpoint: Path, seconds: float) -> None:
        every = self.folder.operation
        removed = prune(self._checkpoints, every["keep_last_checkpoints"], every["keep_every_iterations"])
        details = {"seconds": round(seconds, 3), "removed": [path.name for path in removed]}
        self._history.note("saved", iteration=torch_dist.iteration_of(checkpoint), **details)

    def close(self) -> None:
        """Wait for what is written in the background, and close the log's files."""
        if self._writer:
            self._writer.finish(wait=True)
        if self.log:
            self.log.close_files()
        dist.barrier()


@contextmanager
def _writing_with(save: Callable[..., None]) -> Iterator[None]:
    """Have Megatron-LM's save_checkpoint call this in place of megatron-core's save, for the length of a block."""
    checkpointing.dist_checkpointing = SimpleNamespace(**vars(dist_checkpointing) | {"save": save})
    try:
        yield
    finally:
        checkpointing.dist_checkpointing = dist_checkpointing
