"""The training loop."""

import time
from pathlib import Path
from typing import Any

import torch

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import write_json
from pretrain_llama.launch.ranks import Ranks
from pretrain_llama.training import checkpoint_files
from pretrain_llama.training.anomalies import KINDS, NOT_FINITE, AnomalyDetector
from pretrain_llama.training.batches import BatchReader
from pretrain_llama.training.data import open_blend, open_validation
from pretrain_llama.training.figures import Figures
from pretrain_llama.training.history import History, Phase
from pretrain_llama.training.laps import Laps
from pretrain_llama.training.logs import TrainingLog
from pretrain_llama.training.model import build_model, transformer_config
from pretrain_llama.training.optimizer import build_optimizer, build_schedule, clip_and_step
from pretrain_llama.training.processes import agreed, on_first_process, process_groups, seed_everything
from pretrain_llama.training.run_folder import RunFolder
from pretrain_llama.training.saving import CheckpointWriter
from pretrain_llama.training.sizes import batch_size, training_sequences
from pretrain_llama.training.start import (
    ResumePoint,
    begin_phase,
    check_unchanged,
    find_resume_point,
    output_lock,
    pretrained_checkpoint,
)
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
        OperatorError: the run changed, see start.py; or the loss or the gradient is no number, or spikes, and the run
            shall stop then.
    """
    parallel = folder.run["parallel"]
    stop = StopRequest(folder.operation["time_limit_seconds"])
    place = f"{folder.path / 'run.yaml'}: parallel"
    try:
        with process_groups(parallel["tensor"], parallel["pipeline"], place, own) as device, output_lock(folder.output):
            on_first_process(lambda: check_unchanged(folder))
            laps.end("processes")
            point = find_resume_point(folder.output)
            phase = on_first_process(lambda: begin_phase(folder, point))
            laps.end("past")
            Trainer(folder, own, device, phase, stop).run(point, live_tensorboard, laps)
    finally:
        stop.close()


class Trainer:
    """A run's model, optimizer and data, on this process."""

    def __init__(self, folder: RunFolder, own: Ranks, device: torch.device, phase: Phase, stop: StopRequest) -> None:
        self._folder, self._training, self._operation = folder, folder.training, folder.operation
        self._own, self._device, self._phase, self._stop = own, device, phase, stop
        self._is_first = own.rank == 0
        self._history, self._checkpoints = History(folder.output), folder.output / "checkpoints"
        seed_everything(self._training["seed"])
        parallel = folder.run["parallel"]
        config = transformer_config(folder.architecture, self._training["precision"], parallel)
        model = build_model(folder.architecture, config, self._training["sequence_length_tokens"]).to(device)
        wrapped = wrap_model(model, config, parallel["distributed_optimizer"])
        self._optimizer = build_optimizer(self._training, config, wrapped)
        schedule = build_schedule(self._training, self._optimizer)
        self._passes = Passes(wrapped, self._training, self._optimizer)
        self._state = TrainingState(model, self._optimizer, schedule, self._training)
        self._writer = CheckpointWriter(self._checkpoints, self._operation["save_in_background"])
        self._anomalies = AnomalyDetector(self._operation["spike_deviations"])
        self._skipped_steps = self._skips_in_a_row = self._rewinds = 0

    def run(self, point: ResumePoint | None, live_tensorboard: Path | None, laps: Laps) -> None:
        """Train to the last iteration, with evaluations and checkpoints now and then and at the end."""
        laps.end("model")
        self._load(point)
        laps.end("weights")
        self._open_data()
        laps.end("data")
        self._log = self._open_log(point, live_tensorboard, laps) if self._is_first else None
        if point is None:
            self._evaluate()
        reason = None
        while self._state.iteration < self._training["iterations"] and not reason:
            reason = self._step()
            is_last = self._state.iteration == self._training["iterations"] or reason
            if is_last or self._state.iteration % self._operation["evaluate_every_iterations"] == 0:
                self._evaluate()
            if is_last or self._state.iteration % self._operation["checkpoint_every_iterations"] == 0:
                self._save()
            self._writer.finish(wait=bool(is_last))
        self._batches.close()
        if self._is_first:
            self._end(reason)

    def _load(self, point: ResumePoint | None) -> None:
        if point is None:
            self._state.start(pretrained_checkpoint(self._folder))
            return
        self._state.resume(point.checkpoint, point.consumed)
        self._skipped_steps = point.manifest["skipped_steps"]
        if point.manifest["iteration"] > self._phase.iteration:  # a new phase has losses of its own
            self._anomalies.restore(point.manifest["anomalies"])

    def _open_data(self) -> None:
        """Open the data of this phase, as far as it is needed; collective over all processes."""
        done = self._state.consumed - self._phase.consumed
        left = training_sequences(self._folder.run) - self._state.trained
        self._blend = open_blend(self._folder, self._phase, max(1, done + left), self._own)
        micro_batch_size = self._training["micro_batch_size_sequences"]
        self._batches = BatchReader(self._blend, micro_batch_size, self._device)
        self._validation = {
            name: BatchReader(sequences, micro_batch_size, self._device)
            for name, sequences in open_validation(self._folder).items()
        }

    def _open_log(self, point: ResumePoint | None, live_tensorboard: Path | None, laps: Laps) -> TrainingLog:
        (self._folder.output / "continue.json").unlink(missing_ok=True)
        kind, iteration = ("resumed", self._state.iteration) if point else ("started", -1)
        log = TrainingLog(
            self._folder.output,
            iteration,
            self._operation["log_every_iterations"],
            live_tensorboard,
            self._folder.path.resolve().name,
        )
        self._figures = Figures(self._folder, self._own.world_size, self._device)
        laps.end("logs")
        self._history.note(kind, iteration=self._state.iteration, seconds=laps.seconds, processes=self._own.world_size)
        print(f"{kind} at iteration {self._state.iteration}, after {laps}", flush=True)
        return log

    def _step(self) -> str | None:
        """Do one optimizer step, or what the run says of one that must not be; return why to end after it, if so."""
        began = time.perf_counter()
        training, state = self._training, self._state
        size = batch_size(training, state.trained)
        next_size = batch_size(training, state.trained + size) if state.iteration + 1 < training["iterations"] else 0
        batches = self._batches.read(state.consumed - self._phase.consumed, size, next_size)
        loss = self._passes.backward(batches, self._batches.count(size))
        self._optimizer.prepare_grads()
        norm = self._optimizer.get_grad_norm()
        kind, reason = agreed(KINDS.index(self._anomalies.judge(loss, norm)), REASONS.index(self._stop.reason()))
        action = self._act_on(KINDS[kind], loss, norm)
        if action == "rewind":
            self._rewind(size)
            return REASONS[reason]
        learning_rate = self._optimizer.param_groups[0]["lr"]
        if action != "skip":
            clip_and_step(self._optimizer, norm)
        state.advance(size)
        if self._log:
            self._report(loss, norm, learning_rate, size, time.perf_counter() - began)
        return REASONS[reason]

    def _act_on(self, anomaly: str | None, loss: float, norm: float) -> str | None:
        """Return what to do about a step, and count it.

        Raises:
            OperatorError: the training shall stop.
        """
        policy = self._operation["on_not_finite" if anomaly == NOT_FINITE else "on_spike"] if anomaly else "ignore"
        self._skips_in_a_row = self._skips_in_a_row + 1 if policy == "skip" else 0
        self._rewinds += policy == "rewind"
        if policy == "ignore":
            return None
        step = f"iteration {self._state.iteration + 1}: loss {loss:.6g}, gradient norm {norm:.6g}"
        if self._is_first:
            self._history.note(policy, iteration=self._state.iteration + 1, anomaly=anomaly, loss=loss, norm=norm)
            print(f"WARNING: {anomaly} at {step}: {policy}", flush=True)
        self._skipped_steps += policy == "skip"
        limit = self._operation["anomaly_limit"]
        if policy == "stop" or self._skips_in_a_row > limit or self._rewinds > limit:
            raise OperatorError(
                f"{anomaly} at {step}" + ("" if policy == "stop" else f", and anomaly_limit is {limit}"),
                where=self._folder.output / "log.jsonl",
                action="look at the losses before; lower the learning rate, or resume with on_not_finite or on_spike: "
                "skip or rewind in run.yaml",
            )
        return policy

    def _rewind(self, size: int) -> None:
        """Go back to the newest checkpoint, and leave out the sequences up to the end of this batch."""
        self._writer.finish(wait=True)
        checkpoint = torch_dist.latest(self._checkpoints)
        if checkpoint is None:
            raise OperatorError(
                "there is no checkpoint yet to go back to",
                where=self._checkpoints,
                action="lower the learning rate, or set checkpoint_every_iterations to less",
            )
        consumed = self._state.consumed + size
        drawn = self._drawn(consumed)
        manifest = checkpoint_files.read_manifest(checkpoint)
        if self._log:
            self._history.add_rewind(manifest["iteration"], consumed, drawn)
            self._log.rewind(manifest["iteration"])
        self._load(ResumePoint(checkpoint, manifest, consumed, drawn))
        self._batches.close()
        self._open_data()

    def _drawn(self, consumed: int) -> dict[str, int]:
        """Return the sequences of each shard, by counted name, among those consumed of all phases."""
        counts = self._blend.drawn(0, consumed - self._phase.consumed)
        drawn = dict(self._phase.drawn)
        for name, count in zip(self._folder.probabilities, counts.tolist(), strict=True):
            drawn[name] = drawn.get(name, 0) + count
        return drawn

    def _report(self, loss: float, norm: float, learning_rate: float, size: int, seconds: float) -> None:
        state = self._state
        record: dict[str, Any] = {
            "iteration": state.iteration,
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            "batch_sequences": size,
            "consumed_tokens": state.consumed * self._training["sequence_length_tokens"],
            **self._figures.speed(size, seconds),
            "memory_bytes": self._figures.memory_bytes(),
            "skipped_steps": self._skipped_steps,
            "rewinds": self._rewinds,
        }
        self._log.step(record)
        if self._log.is_due(state.iteration):
            self._log.consumption(state.iteration, *self._figures.consumption(self._drawn(state.consumed)))

    def _evaluate(self) -> None:
        """Evaluate each validation set apart, and log its loss in nats a token."""
        losses = {}
        for name, batches in self._validation.items():
            size = batches.sequences
            loss, tokens = self._passes.evaluate(batches.read(0, size), batches.count(size))
            losses[name] = loss / tokens
        if self._log and losses:
            consumed_tokens = self._state.consumed * self._training["sequence_length_tokens"]
            self._log.validation(self._state.iteration, consumed_tokens, losses)

    def _save(self) -> None:
        facts = {
            "iteration": self._state.iteration,
            "consumed": self._state.consumed,
            "drawn": self._drawn(self._state.consumed),
            "distributed_optimizer": self._folder.run["parallel"]["distributed_optimizer"],
            "skipped_steps": self._skipped_steps,
            "anomalies": self._anomalies.state(),
        }
        if self._log:
            self._log.keep()
        self._writer.write(self._state.sharded(), facts, self._saved)

    def _saved(self, checkpoint: Path, seconds: float) -> None:
        keep = self._operation["keep_last_checkpoints"], self._operation["keep_every_iterations"]
        removed = checkpoint_files.prune(self._checkpoints, *keep)
        self._history.note(
            "saved",
            iteration=checkpoint_files.iteration_of(checkpoint),
            seconds=round(seconds, 3),
            removed=[path.name for path in removed],
        )

    def _end(self, reason: str | None) -> None:
        """Close the log, and say in a file that this is the end, or that the same command continues."""
        self._log.close()
        newest = torch_dist.latest(self._checkpoints)
        end = {"iteration": self._state.iteration, "checkpoint": str(newest.relative_to(self._folder.path))}
        is_finished = self._state.iteration >= self._training["iterations"]
        self._history.note("finished" if is_finished else "stopped", iteration=self._state.iteration, reason=reason)
        if is_finished:
            write_json(self._folder.output / "finished.json", end)
        else:
            write_json(self._folder.output / "continue.json", end | {"reason": reason})
            print(f"{reason}: saved iteration {self._state.iteration}; the same command continues", flush=True)
