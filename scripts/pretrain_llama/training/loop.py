"""The training loop."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import write_json
from pretrain_llama.launch.ranks import Ranks
from pretrain_llama.training.anomalies import KINDS, REWIND, SKIP, AnomalyDetector, AnomalyPolicy
from pretrain_llama.training.checkpoint_files import prune
from pretrain_llama.training.checks import pretrained_checkpoint
from pretrain_llama.training.data import TrainingData
from pretrain_llama.training.figures import Figures
from pretrain_llama.training.history import History
from pretrain_llama.training.laps import Laps
from pretrain_llama.training.logs import TrainingLog
from pretrain_llama.training.model import build_model, transformer_config
from pretrain_llama.training.optimizer import build_optimizer, build_schedule, clip_and_step
from pretrain_llama.training.phases import Phase, trained_after
from pretrain_llama.training.processes import agreed, on_first_process, process_groups, seed_everything
from pretrain_llama.training.resumption import (
    ResumePoint,
    begin_phase,
    check_unchanged,
    find_resume_point,
    output_lock,
)
from pretrain_llama.training.run_folder import FINISHED, UNFINISHED, RunFolder, check_not_rewritten
from pretrain_llama.training.saving import CheckpointWriter
from pretrain_llama.training.sizes import batch_size
from pretrain_llama.training.start_warnings import warn_of_rate, warn_of_validation
from pretrain_llama.training.state import TrainingState
from pretrain_llama.training.step import Passes, wrap_model
from pretrain_llama.training.stopping import REASONS, StopRequest


def train(folder: RunFolder, own: Ranks, live_tensorboard: Path | None, laps: Laps) -> None:
    """Train a run to its end, from where it stands: its newest checkpoint, or else the pretrained weights.

    Every process of the training calls it. Writes output/finished.json last; or output/continue.json, after SIGTERM
    or when the time limit is over, with a checkpoint from which the same command continues.

    Args:
        folder: of the run, checked.
        own: this process's place.
        live_tensorboard: local folder for TensorBoard's files, which are copied to the output; None writes them there.
        laps: of the start-up, up to here.

    Raises:
        PretrainError: the run changed, or a new phase of it cannot begin, see resumption.py; or the loss or the
            gradient is no number, or spikes, and the run shall stop then.
    """
    parallel = folder.run["parallel"]
    stop = StopRequest(folder.operation["time_limit_seconds"])
    place = f"{folder.path / 'run.yaml'}: parallel"
    try:
        with process_groups(parallel["tensor"], parallel["pipeline"], place, own) as device, output_lock(folder.output):
            laps.end("processes")
            identity = on_first_process(lambda: check_unchanged(folder))
            point = find_resume_point(folder.output)
            phases = on_first_process(lambda: begin_phase(folder, point, identity))
            laps.end("past")
            trainer = Trainer(folder, own, device, phases, stop)
            trainer.prepare(point, live_tensorboard, laps)
            trainer.run()
    finally:
        stop.close()


class Trainer:
    """A run's model, optimizer and data, on this process."""

    def __init__(
        self, folder: RunFolder, own: Ranks, device: torch.device, phases: list[Phase], stop: StopRequest
    ) -> None:
        """Build them; phases: up to the present one."""
        self._folder, self._training, self._operation = folder, folder.training, folder.operation
        self._own, self._device, self._phase, self._stop = own, device, phases[-1], stop
        self._is_first = own.rank == 0
        self._history, self._checkpoints = History(folder.output), folder.output / "checkpoints"
        seed_everything(self._training["seed"])
        parallel = folder.run["parallel"]
        config = transformer_config(folder.architecture, self._training["precision"], parallel)
        model = build_model(folder.architecture, config, self._training["sequence_length_tokens"]).to(device)
        wrapped = wrap_model(model, config, parallel["distributed_optimizer"])
        self._optimizer = build_optimizer(self._training, config, wrapped)
        self._trained_after = partial(trained_after, phases)
        schedule = build_schedule(self._training, self._optimizer, self._trained_after)
        self._passes = Passes(wrapped, self._training, self._optimizer)
        self._state = TrainingState(model, self._optimizer, schedule, self._training)
        self._data = TrainingData(folder, self._phase, own, device)
        self._writer = CheckpointWriter(self._checkpoints, self._operation["save_in_background"])
        self._anomalies = AnomalyDetector(self._operation["spike_deviations"])
        self._policy = AnomalyPolicy(self._operation, folder.output, self._warn)

    def prepare(self, point: ResumePoint | None, live_tensorboard: Path | None, laps: Laps) -> None:
        """Load weights and data, and open the log; see `train` for the arguments.

        Args:
            point: to go on from; None begins with the pretrained weights, and evaluates them.
        """
        laps.end("model")
        self._load(point)
        laps.end("weights")
        self._reach_end()
        laps.end("data")
        self._log = self._open_log(point, live_tensorboard, laps) if self._is_first else None
        if point is None:
            self._evaluate()
        elif self._is_first and self._state.iteration == self._phase.iteration:
            rate = self._optimizer.param_groups[0]["lr"]
            warn_of_rate(self._folder.output, self._history, self._state.iteration, rate)

    def run(self) -> None:
        """Train to the last iteration, with evaluations and checkpoints now and then and at the end."""
        reason = None
        while self._state.iteration < self._training["iterations"] and not reason:
            outcome = self.step()
            if outcome == REWIND:
                continue
            reason = outcome
            if self._is_due("evaluate_every_iterations"):
                self._evaluate()
            if reason or self._is_due("checkpoint_every_iterations"):
                self._save()
            self._writer.finish(wait=False)
        self._writer.finish(wait=True)
        self._data.close()
        if self._is_first:
            self._end(reason)

    def _is_due(self, interval: str) -> bool:
        iteration = self._state.iteration
        return iteration == self._training["iterations"] or iteration % self._operation[interval] == 0

    def _load(self, point: ResumePoint | None) -> None:
        if point is None:
            self._state.start(pretrained_checkpoint(self._folder))
            return
        self._state.resume(point.checkpoint, point.consumed)
        self._policy.restore(point.manifest["skipped_steps"], point.manifest["skips_in_a_row"], point.rewinds)
        if point.manifest["iteration"] > self._phase.iteration:  # a new phase has losses of its own
            self._anomalies.restore(point.manifest["anomalies"])

    def _reach_end(self) -> None:
        """Have all sequences at hand that the training will need."""
        left = self._trained_after(self._training["iterations"]) - self._state.trained
        self._data.reach(self._state.consumed + left)

    def _open_log(self, point: ResumePoint | None, live_tensorboard: Path | None, laps: Laps) -> TrainingLog:
        for name in (FINISHED, UNFINISHED):
            (self._folder.output / name).unlink(missing_ok=True)
        kind, iteration = ("resumed", self._state.iteration) if point else ("started", -1)
        log = TrainingLog(
            self._folder.output,
            iteration,
            self._operation["log_every_iterations"],
            live_tensorboard,
            self._folder.path.resolve().name,
        )
        self._figures = Figures(self._folder, self._phase, self._own.world_size, self._device)
        laps.end("logs")
        self._history.note(kind, iteration=self._state.iteration, seconds=laps.seconds, processes=self._own.world_size)
        print(f"{kind} at iteration {self._state.iteration}, after {laps}", flush=True)
        warn_of_validation(self._folder, self._history)
        return log

    def step(self) -> str | None:
        """Do one optimizer step, or what the run says of one that must not be.

        Returns:
            REWIND where it went back instead; else why to save and end after it, of REASONS.
        """
        began = time.perf_counter()
        training, state = self._training, self._state
        size = batch_size(training, state.trained)
        next_size = batch_size(training, state.trained + size) if state.iteration + 1 < training["iterations"] else 0
        loss = self._passes.backward(*self._data.read(state.consumed, size, next_size))
        self._optimizer.prepare_grads()
        norm = self._optimizer.get_grad_norm()
        kind, reason = agreed(KINDS.index(self._anomalies.judge(loss, norm)), REASONS.index(self._stop.reason()))
        action = self._policy.act(KINDS[kind], state.iteration + 1, loss, norm)
        if action == REWIND:
            self._rewind(state.consumed + size)
            return REWIND
        learning_rate = self._optimizer.param_groups[0]["lr"]
        if action != SKIP:
            clip_and_step(self._optimizer, norm)
        state.advance(size)
        if self._log:
            self._report(loss, norm, learning_rate, size, time.perf_counter() - began)
        return REASONS[reason]

    def _warn(self, event: str, message: str, **details: Any) -> None:
        if self._is_first:
            self._history.note(event, **details)
            print(f"WARNING: {event}: {message}", flush=True)

    def _rewind(self, consumed: int) -> None:
        """Go back to the newest checkpoint, and on with the sequences after `consumed`.

        Raises:
            OperatorError: there is no checkpoint, or none of this phase.
        """
        self._writer.finish(wait=True)
        found = find_resume_point(self._folder.output)
        if found is None:
            raise OperatorError(
                "there is no checkpoint yet to go back to",
                where=self._checkpoints,
                action="lower the learning rate, or set checkpoint_every_iterations to less",
            )
        if found.manifest["iteration"] < self._phase.iteration:
            raise OperatorError(
                f"the newest whole checkpoint, {found.checkpoint.name}, is of an earlier phase",
                where=self._checkpoints,
                action="type the same command again: it begins this phase there",
            )
        point = replace(found, consumed=consumed, drawn=self._data.drawn(consumed), rewinds=found.rewinds + 1)
        if self._log:
            self._history.add_rewind(point.manifest["iteration"], consumed, point.drawn)
            self._log.rewind(point.manifest["iteration"])
        self._load(point)
        self._reach_end()

    def _report(self, loss: float, norm: float, learning_rate: float, size: int, seconds: float) -> None:
        iteration, consumed = self._state.iteration, self._state.consumed
        record = {
            "iteration": iteration,
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            "batch_sequences": size,
            "consumed_tokens": consumed * self._training["sequence_length_tokens"],
            **self._figures.speed(size, seconds),
            "memory_bytes": self._figures.memory_bytes(),
            "skipped_steps": self._policy.skipped_steps,
            "rewinds": self._policy.rewinds,
        }
        assert self._log, "of the first process"
        self._log.step(record)
        if self._log.is_due(iteration) or iteration == self._training["iterations"]:
            self._log.consumption(iteration, *self._figures.consumption(self._data.drawn(consumed)))

    def _evaluate(self) -> None:
        """Evaluate each validation set apart, and log its loss in nats a token."""
        losses = {}
        for name, reader in self._data.validation.items():
            total, tokens = self._passes.evaluate(reader.read(0, reader.sequences), reader.count(reader.sequences))
            losses[name] = total / tokens
        if self._log and losses:
            consumed_tokens = self._state.consumed * self._training["sequence_length_tokens"]
            self._log.validation(self._state.iteration, consumed_tokens, losses)

    def _save(self) -> None:
        facts = {
            "iteration": self._state.iteration,
            "consumed": self._state.consumed,
            "drawn": self._data.drawn(self._state.consumed),
            "distributed_optimizer": self._folder.run["parallel"]["distributed_optimizer"],
            "skipped_steps": self._policy.skipped_steps,
            "skips_in_a_row": self._policy.skips_in_a_row,
            "anomalies": self._anomalies.state(),
        }
        if self._log:
            self._log.keep()
        self._writer.write(self._state.sharded(), facts, self._saved)

    def _saved(self, checkpoint: Path, seconds: float) -> None:
        keep = self._operation["keep_last_checkpoints"], self._operation["keep_every_iterations"]
        removed = [path.name for path in prune(self._checkpoints, *keep)]
        self._history.note(
            "saved", iteration=torch_dist.iteration_of(checkpoint), seconds=round(seconds, 3), removed=removed
        )

    def _end(self, reason: str | None) -> None:
        """Say in a file that this is the end, or that the same command continues; only then wait for servers.

        Raises:
            OperatorError: the run folder became another meanwhile.
        """
        assert self._log, "of the first process"
        self._log.close_files()
        newest = torch_dist.newest(self._checkpoints)
        end = {"iteration": self._state.iteration, "checkpoint": str(newest.relative_to(self._folder.path))}
        if self._state.iteration >= self._training["iterations"]:
            check_not_rewritten(self._folder)
            self._history.note("finished", iteration=self._state.iteration)
            write_json(self._folder.output / FINISHED, end)
        else:
            self._history.note("stopped", iteration=self._state.iteration, reason=reason)
            write_json(self._folder.output / UNFINISHED, end | {"reason": reason})
            print(f"{reason}: saved iteration {self._state.iteration}; the same command continues", flush=True)
        self._log.close_trackers()
