"""The training loop: steps, evaluations, checkpoints, rewinds, and the end."""

import gc
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.run.checkpoint_files import prune
from pretrain_llama.run.folder import RunFolder
from pretrain_llama.run.history import History
from pretrain_llama.run.phases import Phase, trained_after
from pretrain_llama.run.ranks import Ranks
from pretrain_llama.run.sizes import batch_size
from pretrain_llama.run.stages import WHOLE, stage_after
from pretrain_llama.run.start_checks import pretrained_checkpoint
from pretrain_llama.run.timelines import Position
from pretrain_llama.training.anomalies import KINDS, REWIND, SKIP, AnomalyDetector, AnomalyPolicy
from pretrain_llama.training.data.training_data import TrainingData
from pretrain_llama.training.ending import forget_end, record_end
from pretrain_llama.training.engine import Engine
from pretrain_llama.training.evaluating import Evaluator
from pretrain_llama.training.hooks import Hooks
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
from pretrain_llama.training.watching import Tracer


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
            while True:  # for each stage
                point = find_resume_point(folder.output)
                timeline, phases = on_first_process(partial(begin_timeline, folder, point, identity))
                laps.end("past")
                trainer = Trainer(folder, own, device, timeline, phases, stop, point)
                trainer.prepare(point, live_tensorboard, laps)
                if trainer.run():
                    break
                laps = Laps()
                del trainer  # before the next stage's model is built
                gc.collect()
                torch.cuda.empty_cache()
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
        point: ResumePoint | None,
    ) -> None:
        """Build them; timeline: what manifests say of the one that begins; phases: up to the present one.

        point: to go on from; None begins with the pretrained weights, and evaluates them.
        """
        self._folder, self._training, self._operation = folder, folder.training, folder.operation
        self._own, self._device, self._stop = own, device, stop
        self._timeline, self._phases, self._phase = timeline, phases, phases[-1]
        self._is_first = own.rank == 0
        self._history, self._checkpoints = History(folder.output), folder.output / "checkpoints"
        self._stage = stage_after(folder.training, point.iteration if point else 0)
        self._engine = Engine(folder, device, partial(trained_after, phases), self._stage)
        self._state = self._engine.state
        self._data = TrainingData(folder, self._phase, own, device)
        self._writer = CheckpointWriter(self._checkpoints, self._operation["save_in_background"])
        self._evaluator = Evaluator(folder, self._engine, self._data.validation)
        self._policy = AnomalyPolicy(self._operation, folder.output, self._warn)
        self._tracer = Tracer(self._operation["profile"], own.rank, folder.output)

    def prepare(self, point: ResumePoint | None, live_tensorboard: Path | None, laps: Laps) -> None:
        """Load weights and data, and open the log; see `train` and `__init__` for the arguments."""
        laps.end("model")
        self._load(point)
        laps.end("weights")
        self._reach_end()
        laps.end("data")
        self._log = log = self._open_log(point, live_tensorboard, laps) if self._is_first else None
        self._hooks = Hooks(self._folder.path, self._operation["hooks"], self._warn, log.hook if log else None)
        if point is None:
            self._evaluate()
        elif self._is_first and self._state.iteration == self._phase.iteration != self._stage.begin:
            warn_of_rate(self._folder.output, self._history, self._state.iteration, self._engine.learning_rate)

    def run(self) -> bool:
        """Train to the end of the stage, with evaluations and checkpoints now and then and at the end.

        Returns:
            whether the training ended; else, another stage comes.
        """
        reason = None
        while self._state.iteration < self._stage.end and not reason:
            outcome = self.step()
            if outcome == REWIND:
                continue
            reason = outcome
            if self._is_due(self._operation["evaluate_every_iterations"]):
                self._evaluate()
            if reason or self._is_due(self._operation["checkpoint_every_iterations"], self._hooks.every):
                self._save()
            self._writer.finish(wait=False)
            self._hooks.poll()
        self._writer.finish(wait=True)
        self._data.close()
        self._hooks.close(wait=not reason)
        if self._is_first:
            self._end(reason)
        return bool(reason) or self._state.iteration >= self._training["iterations"]

    def _is_due(self, *every: int | None) -> bool:
        """Say whether what is done every so many iterations is due; at the end of a stage, all is."""
        iteration = self._state.iteration
        return iteration == self._stage.end or any(each and iteration % each == 0 for each in every)

    def _load(self, point: ResumePoint | None) -> None:
        """Take the whole state of a checkpoint; after a rewind, nothing is left of what was done since."""
        self._anomalies = AnomalyDetector(self._operation["spike_deviations"])
        self._left_out = point.position.left_out or {} if point else {}
        if point is None:
            self._state.start(pretrained_checkpoint(self._folder))
            return
        if point.manifest.get("stage", WHOLE) == self._stage.mark:
            self._state.resume(point.checkpoint, point.position.consumed)
        else:
            self._state.begin_stage(point.checkpoint, point.iteration, point.position.consumed)
        self._policy.restore(point.manifest["skipped_steps"], point.manifest["skips_in_a_row"], point.rewinds)
        if point.iteration > self._phase.iteration:  # a new phase has losses of its own
            self._anomalies.restore(point.manifest["anomalies"])

    def _reach_end(self) -> None:
        """Have all sequences at hand that the training will need."""
        left = trained_after(self._phases, self._training["iterations"]) - self._state.trained
        self._data.reach(self._state.consumed + left)

    def _open_log(self, point: ResumePoint | None, live_tensorboard: Path | None, laps: Laps) -> TrainingLog:
        forget_end(self._folder.output)
        kind, iteration = ("resumed", point.logged) if point else ("started", -1)
        every, name = self._operation["log_every_iterations"], self._folder.path.resolve().name
        log = TrainingLog(self._folder.output, iteration, every, live_tensorboard, name)
        self._figures = Figures(self._folder, self._phase, self._own.world_size, self._device)
        domains = {*self._data.validation, *self._figures.consumption(self._position())}
        log.describe(domains, self._folder.path / "README.md")
        laps.end("logs")
        about = self._state.iteration, laps.seconds, self._own.world_size, self._engine.computing
        self._history.note_start(kind, *about)
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
        self._tracer.begin(state.iteration + 1)
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
        self._tracer.end(state.iteration)
        if self._log:
            self._report(loss, norm, learning_rate, size, time.perf_counter() - began)
        if self._own.world_size > 1 and self._is_due(self._operation["log_every_iterations"]):
            self._engine.tell_slowest_and_fastest()
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
        iteration = self._state.iteration
        record = {
            "iteration": iteration,
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            **self._figures.step(size, seconds, self._state.consumed, sum(self._left_out.values())),
            "skipped_steps": self._policy.skipped_steps,
            "rewinds": self._policy.rewinds,
        }
        assert self._log, "of the first process"
        self._log.step(record)
        if self._log.is_due(iteration) or iteration == self._training["iterations"]:
            self._log.consumption(iteration, self._figures.consumption(self._position()))

    def _evaluate(self) -> None:
        consumed_tokens = self._state.consumed * self._training["sequence_length_tokens"]
        self._evaluator.run(self._state.iteration, consumed_tokens, self._log)

    def _save(self) -> None:
        facts = {
            **self._timeline,
            "iteration": self._state.iteration,
            **asdict(self._position()),
            "distributed_optimizer": self._folder.run["parallel"]["distributed_optimizer"],
            "skipped_steps": self._policy.skipped_steps,
            "skips_in_a_row": self._policy.skips_in_a_row,
            "anomalies": self._anomalies.state(),
            "stage": self._stage.mark,
        }
        if self._log:
            self._log.keep()
        self._writer.write(self._state.sharded(), facts, self._saved)

    def _saved(self, checkpoint: Path, seconds: float) -> None:
        keep = self._operation["keep_last_checkpoints"], self._operation["keep_every_iterations"]
        removed = [path.name for path in prune(self._checkpoints, *keep, self._hooks.in_use)]
        iteration = torch_dist.iteration_of(checkpoint)
        self._history.note("saved", iteration=iteration, seconds=round(seconds, 3), removed=removed)
        self._hooks.saved(iteration)

    def _end(self, reason: str | None) -> None:
        """Record how it ended; only then wait for servers."""
        assert self._log, "of the first process"
        self._log.close_files()
        if reason or self._state.iteration >= self._training["iterations"]:
            record_end(self._folder, self._checkpoints, self._state.iteration, reason)
        self._log.close_trackers()
