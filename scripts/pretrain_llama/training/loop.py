"""The training loop: steps, evaluations, checkpoints, rewinds, and the end."""

import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.files import write_json
from pretrain_llama.run.checkpoint_files import prune
from pretrain_llama.run.folder import FINISHED, UNFINISHED, RunFolder, check_not_rewritten
from pretrain_llama.run.history import History
from pretrain_llama.run.phases import Phase, trained_after
from pretrain_llama.run.ranks import Ranks
from pretrain_llama.run.sizes import batch_size
from pretrain_llama.run.start_checks import pretrained_checkpoint
from pretrain_llama.run.timelines import Position
from pretrain_llama.training.anomalies import KINDS, REWIND, SKIP, AnomalyDetector, AnomalyPolicy
from pretrain_llama.training.data.training_data import TrainingData
from pretrain_llama.training.engine import Engine
from pretrain_llama.training.laps import Laps
from pretrain_llama.training.logging.figures import Figures
from pretrain_llama.training.logging.logs import TrainingLog
from pretrain_llama.training.processes import agreed, on_first_process, process_groups
from pretrain_llama.training.resumption import (
    ResumePoint,
    begin_timeline,
    check_unchanged,
    find_resume_point,
    find_rewind_point,
    output_lock,
)
from pretrain_llama.training.saving import CheckpointWriter
from pretrain_llama.training.start_warnings import warn_of_rate, warn_of_validation
from pretrain_llama.training.stopping import REASONS, StopRequest


def train(folder: RunFolder, own: Ranks, live_tensorboard: Path | None, laps: Laps) -> None:
    """Train a run to its end, from where it stands: its newest checkpoint, or else the pretrained weights.

    Every process of the training calls it. Writes output/finished.json last; or output/continue.json, after a signal
    or when the time limit is over, with a checkpoint from which the same command continues.

    Args:
        folder: of the run, checked.
        own: this process's ranks.
        live_tensorboard: local folder for TensorBoard's files, which are copied to the output; None writes them there.
        laps: of the start-up, up to here.

    Raises:
        PretrainError: the run changed, or a new phase of it cannot begin, see resumption.py; or the loss or the
            gradient is no number, or spikes, and the run says to stop then.
    """
    parallel = folder.run["parallel"]
    stop = StopRequest(folder.operation["time_limit_seconds"])
    where = f"{folder.path / 'run.yaml'}: parallel"
    try:
        with process_groups(parallel["tensor"], parallel["pipeline"], where, own) as device, output_lock(folder.output):
            laps.end("processes")
            identity = on_first_process(lambda: check_unchanged(folder))
            point = find_resume_point(folder.output)
            timeline, phases = on_first_process(lambda: begin_timeline(folder, point, identity))
            laps.end("past")
            trainer = Trainer(folder, own, device, timeline, phases, stop)
            trainer.prepare(point, live_tensorboard, laps)
            trainer.run()
    finally:
        stop.close()


class Trainer:
    """A run's model, data and checkpoints, on this process."""

    def __init__(
        self,
        folder: RunFolder,
        own: Ranks,
        device: torch.device,
        timeline: dict[str, Any],
        phases: list[Phase],
        stop: StopRequest,
    ) -> None:
        """Build them; timeline: what manifests say of the one that begins; phases: up to the present one."""
        self._folder, self._training, self._operation = folder, folder.training, folder.operation
        self._own, self._device, self._stop = own, device, stop
        self._timeline, self._phases, self._phase = timeline, phases, phases[-1]
        self._is_first = own.rank == 0
        self._history, self._checkpoints = History(folder.output), folder.output / "checkpoints"
        self._engine = Engine(folder, device, partial(trained_after, phases))
        self._state = self._engine.state
        self._data = TrainingData(folder, self._phase, own, device)
        self._writer = CheckpointWriter(self._checkpoints, self._operation["save_in_background"])
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
            warn_of_rate(self._folder.output, self._history, self._state.iteration, self._engine.learning_rate)

    def run(self) -> None:
        """Train to the last iteration, with evaluations and checkpoints now and then and at the end."""
        reason = None
        while self._state.iteration < self._training["iterations"] and not reason:
            outcome = self.step()
            if outcome == REWIND:
                continue
            reason = outcome
            if self._is_due(self._operation["evaluate_every_iterations"]):
                self._evaluate()
            if reason or self._is_due(self._operation["checkpoint_every_iterations"]):
                self._save()
            self._writer.finish(wait=False)
        self._writer.finish(wait=True)
        self._data.close()
        if self._is_first:
            self._end(reason)

    def _is_due(self, every: int) -> bool:
        """Say whether what is done every so many iterations is due; at the end, all is."""
        iteration = self._state.iteration
        return iteration == self._training["iterations"] or iteration % every == 0

    def _load(self, point: ResumePoint | None) -> None:
        """Take the whole state of a checkpoint; after a rewind, nothing is left of what was done since."""
        self._anomalies = AnomalyDetector(self._operation["spike_deviations"])
        self._left_out = point.position.left_out or {} if point else {}
        if point is None:
            self._state.start(pretrained_checkpoint(self._folder))
            return
        self._state.resume(point.checkpoint, point.position.consumed)
        self._policy.restore(point.manifest["skipped_steps"], point.manifest["skips_in_a_row"], point.rewinds)
        if point.iteration > self._phase.iteration:  # a new phase has losses of its own
            self._anomalies.restore(point.manifest["anomalies"])

    def _reach_end(self) -> None:
        """Have all sequences at hand that the training will need."""
        left = trained_after(self._phases, self._training["iterations"]) - self._state.trained
        self._data.reach(self._state.consumed + left)

    def _open_log(self, point: ResumePoint | None, live_tensorboard: Path | None, laps: Laps) -> TrainingLog:
        for name in (FINISHED, UNFINISHED):
            (self._folder.output / name).unlink(missing_ok=True)
        kind, iteration = ("resumed", point.logged) if point else ("started", -1)
        log = TrainingLog(
            self._folder.output,
            iteration,
            self._operation["log_every_iterations"],
            live_tensorboard,
            self._folder.path.resolve().name,
        )
        self._figures = Figures(self._folder, self._phase, self._own.world_size, self._device)
        laps.end("logs")
        self._history.note_start(kind, self._state.iteration, laps.seconds, self._own.world_size)
        print(f"{kind} at iteration {self._state.iteration}, after {laps}", flush=True)
        warn_of_validation(self._folder, self._history)
        return log

    def step(self) -> str | None:
        """Take one optimizer step, or do what the run says about an anomalous one.

        Returns:
            REWIND where it went back instead; else why to save and end after it, of REASONS.
        """
        began = time.perf_counter()
        training, state = self._training, self._state
        size = batch_size(training, state.trained)
        next_size = batch_size(training, state.trained + size) if state.iteration + 1 < training["iterations"] else 0
        loss, norm = self._engine.gradients(*self._data.read(state.consumed, size, next_size))
        kind, reason = agreed(KINDS.index(self._anomalies.judge(loss, norm)), REASONS.index(self._stop.reason()))
        action = self._policy.act(KINDS[kind], state.iteration + 1, loss, norm)
        if action == REWIND:
            self._rewind(state.consumed + size)
            return REWIND
        learning_rate = self._engine.learning_rate
        if action == SKIP:
            further = state.consumed + size
            self._left_out = self._position().leaving_out(further, self._data.drawn(further)).left_out or {}
        else:
            self._engine.take_step(norm)
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
            OperatorError: there is no checkpoint to go back to.
        """
        self._writer.finish(wait=True)
        found = find_rewind_point(self._folder.output, self._phase)
        position = found.position.leaving_out(consumed, self._data.drawn(consumed))
        begin = partial(self._history.begin_timeline, found.timeline, found.iteration, self._phases, position)
        self._timeline = on_first_process(begin)
        if self._log:
            self._log.rewind(found.iteration)
        self._load(replace(found, position=position, rewinds=found.rewinds + 1))
        self._reach_end()

    def _position(self) -> Position:
        return Position(self._state.consumed, self._data.drawn(self._state.consumed), self._left_out)

    def _report(self, loss: float, norm: float, learning_rate: float, size: int, seconds: float) -> None:
        iteration, consumed = self._state.iteration, self._state.consumed
        record = {
            "iteration": iteration,
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            "batch_sequences": size,
            "consumed_tokens": consumed * self._training["sequence_length_tokens"],
            "trained_tokens": (consumed - sum(self._left_out.values())) * self._training["sequence_length_tokens"],
            **self._figures.speed(size, seconds),
            "memory_bytes": self._figures.memory_bytes(),
            "skipped_steps": self._policy.skipped_steps,
            "rewinds": self._policy.rewinds,
        }
        assert self._log, "of the first process"
        self._log.step(record)
        if self._log.is_due(iteration) or iteration == self._training["iterations"]:
            self._log.consumption(iteration, self._figures.consumption(self._position()))

    def _evaluate(self) -> None:
        """Evaluate each validation set apart, and log its loss in nats a token."""
        losses = {}
        for name, reader in self._data.validation.items():
            losses[name] = self._engine.evaluate(reader)
        if self._log and losses:
            consumed_tokens = self._state.consumed * self._training["sequence_length_tokens"]
            self._log.validation(self._state.iteration, consumed_tokens, losses)

    def _save(self) -> None:
        facts = {
            **self._timeline,
            "iteration": self._state.iteration,
            **asdict(self._position()),
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
        """Record in a file that the training ended, or that the same command continues it; only then wait for servers.

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
