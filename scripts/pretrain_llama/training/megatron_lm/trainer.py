"""Train a run folder with Megatron-LM's `pretrain`: our data and start, its model, optimizer, schedule and loop."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from megatron.core import datasets, parallel_state
from megatron.core.enums import ModelType
from megatron.training import get_args, pretrain
from megatron.training.argument_utils import gpt_config_from_args, pretrain_cfg_container_from_args
from megatron.training.arguments import parse_and_validate_args, parse_args

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.errors import ConfigError, OperatorError
from pretrain_llama.launch import megatron_lm
from pretrain_llama.launch.megatron_lm_check import check_own_arguments
from pretrain_llama.run.folder import RunFolder
from pretrain_llama.run.history import History
from pretrain_llama.run.phases import Phase, trained_after
from pretrain_llama.run.ranks import Ranks
from pretrain_llama.run.stages import stages
from pretrain_llama.training.data.training_data import TrainingData, open_validation
from pretrain_llama.training.ending import forget_end, record_end
from pretrain_llama.training.laps import Laps
from pretrain_llama.training.logging.figures import Figures
from pretrain_llama.training.logging.logs import TrainingLog
from pretrain_llama.training.megatron_lm import cpu
from pretrain_llama.training.megatron_lm.hooks import Hooks
from pretrain_llama.training.megatron_lm.steps import TrainingSequences, ValidationBatches, forward_step
from pretrain_llama.training.model import mask_padding_in_evaluation
from pretrain_llama.training.optimizer import build_schedule
from pretrain_llama.training.processes import meeting, on_first_process
from pretrain_llama.training.resumption import (
    ResumePoint,
    begin_timeline,
    check_unchanged,
    find_resume_point,
    output_lock,
)
from pretrain_llama.training.start_warnings import warn_of_validation


def train(folder: RunFolder, own: Ranks, live_tensorboard: Path | None, laps: Laps) -> None:
    """Train a run to its end, from where it stands, as `loop.train` does.

    Raises:
        PretrainError: the run changed, or Megatron-LM stopped; its message stands above.
    """
    with meeting(own) as device, output_lock(folder.output):
        laps.end("processes")
        identity = on_first_process(lambda: check_unchanged(folder))
        point = find_resume_point(folder.output)
        timeline, phases = on_first_process(lambda: begin_timeline(folder, point, identity))
        laps.end("past")
        if point is None or point.iteration < folder.training["iterations"]:
            _Training(folder, own, device, timeline, phases).run(point, live_tensorboard, laps)
        elif own.rank == 0:
            _note_end(folder, None)


class _Training:
    """A run's training by Megatron-LM, on this process."""

    def __init__(
        self, folder: RunFolder, own: Ranks, device: torch.device, timeline: dict[str, Any], phases: list[Phase]
    ) -> None:
        self._folder, self._own, self._device, self._timeline = folder, own, device, timeline
        self._phases, self._phase = phases, phases[-1]
        self._data: TrainingData | None = None

    def run(self, point: ResumePoint | None, live_tensorboard: Path | None, laps: Laps) -> None:
        iteration = point.iteration if point else 0
        self._start(point)
        hooks = Hooks(
            self._folder,
            self._timeline,
            lambda consumed: self._opened().drawn(consumed),
            self._log(point, live_tensorboard) if self._own.rank == self._own.world_size - 1 else None,
            Figures(self._folder, self._phase, self._own.world_size, self._device),
            self._schedule if len(self._phases) > 1 else None,
            iteration,
        )
        hooks.install()
        if self._own.rank == 0:
            kind = "resumed" if point else "started"
            self._note_start(kind, iteration, laps)
        reason = self._pretrain()
        hooks.close()
        if self._own.rank == 0:
            _note_end(self._folder, reason)
        if hooks.log:
            hooks.log.close_trackers()

    def _start(self, point: ResumePoint | None) -> None:
        """Give Megatron-LM its arguments, from run.yaml and from where the training stands."""
        ranks = {"RANK": self._own.rank, "WORLD_SIZE": self._own.world_size, "LOCAL_RANK": self._own.local}
        os.environ |= {name: str(value) for name, value in ranks.items()}
        cpu.install()
        datasets.utils.compile_helpers = lambda: None  # the wheel has them compiled, and no Makefile to do it by
        has_engine = importlib.util.find_spec("transformer_engine") is not None
        arguments = megatron_lm.fixed_arguments(self._folder.run, self._folder.architecture)
        arguments |= megatron_lm.own_arguments(self._folder.run, has_engine)
        arguments |= megatron_lm.folder_arguments(self._folder, point.checkpoint if point else None)
        if self._device.type == "cpu":
            arguments["distributed-backend"] = ["gloo"]
        where = f"{self._folder.path / 'run.yaml'}"
        check_own_arguments(self._folder.run, self._folder.architecture, where, _parsed)
        with _command_line(megatron_lm.words(arguments)):
            args = parse_and_validate_args()
        limit = self._folder.operation["time_limit_seconds"]
        args.exit_duration_in_mins = limit and limit / 60  # of which its option takes whole ones
        if len(self._phases) > 1:
            args.train_iters = self._folder.training["iterations"]

    def _names(self) -> list[str]:
        return [prefix.name for prefix in self._folder.validation_sets()]

    def _log(self, point: ResumePoint | None, live_tensorboard: Path | None) -> TrainingLog:
        every = self._folder.operation["log_every_iterations"]
        name = self._folder.path.resolve().name
        return TrainingLog(self._folder.output, point.logged if point else -1, every, live_tensorboard, name)

    def _note_start(self, kind: str, iteration: int, laps: Laps) -> None:
        forget_end(self._folder.output)
        history = History(self._folder.output)
        laps.end("arguments")
        args = get_args()
        computing = {"transformer": args.transformer_impl, "attention": args.attention_backend.name}
        history.note_start(kind, iteration, laps.seconds, self._own.world_size, computing)
        print(f"{kind} at iteration {iteration}, after {laps}", flush=True)
        warn_of_validation(self._folder, history)

    def _schedule(self, optimizer: Any) -> Any:
        (stage,) = stages(self._folder.training)  # it takes no others: check_trainer_settings
        return build_schedule(self._folder.training, optimizer, partial(trained_after, self._phases), stage)

    def _pretrain(self) -> str | None:
        """Train; return why it ended before the last iteration, or None."""
        args = get_args()
        model = gpt_config_from_args(args)
        model.pre_wrap_hooks.append(self._mask_padding)
        provider: Any = partial(self._datasets)
        provider.is_distributed = True  # every process calls it
        try:
            pretrain(
                pretrain_cfg_container_from_args(args, model),
                provider,
                ModelType.encoder_or_decoder,
                forward_step,
            )
        except SystemExit as ended:
            if ended.code:
                raise OperatorError(
                    f"Megatron-LM ended with exit code {ended.code}",
                    where=self._folder.output,
                    action="see its message above; the same command resumes from the newest checkpoint",
                ) from None
            from megatron.training.global_vars import get_signal_handler

            return "SIGTERM" if any(get_signal_handler().signals_received()) else "time limit"
        return None

    def _mask_padding(self, model: list[Any]) -> list[Any]:
        for chunk in model:
            mask_padding_in_evaluation(chunk, self._folder.architecture.vocab_size)
        return model

    def _opened(self) -> TrainingData:
        """Return the data, opened at the first call, which every process makes."""
        if self._data is None:
            self._data = TrainingData(self._folder, self._phase, self._own, self._device)
            self._data.reach(trained_after(self._phases, self._folder.training["iterations"]))
        return self._data

    def _datasets(self, _: object, vp_stage: int | None = None) -> tuple[Any, Any, None]:
        """Return what Megatron-LM trains on and evaluates; only the first tensor parallel processes read it."""
        data, names = self._opened(), self._names()
        if parallel_state.get_tensor_model_parallel_rank():
            return None, [None] * len(names), None
        length = trained_after(self._phases, self._folder.training["iterations"])
        processes = parallel_state.get_data_parallel_world_size()
        size = self._folder.training["micro_batch_size_sequences"]
        validation = [ValidationBatches(each, size, processes) for each in open_validation(self._folder).values()]
        return TrainingSequences(data.blend, self._phase.consumed, length), validation or None, None


def _parsed(lists: list[list[str]], _: int) -> list[dict[str, Any]]:
    """Parse lists of words, for `check_own_arguments`."""
    found = []
    for words in lists:
        with _command_line(words):
            found.append(vars(parse_args()))
    return found


@contextmanager
def _command_line(words: list[str]) -> Iterator[None]:
    """Have Megatron-LM find these words on the command line, for the length of a block.

    Raises:
        ConfigError: it does not take them.
    """
    before, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        yield
    except (AssertionError, ValueError, SystemExit) as error:
        raise ConfigError(
            f"Megatron-LM does not take its arguments: {error}",
            where="parallel, training and megatron_lm of run.yaml",
            action="see its message above; docs/megatron_lm.md says what each default is",
        ) from None
    finally:
        sys.argv = before


def _note_end(folder: RunFolder, reason: str | None) -> None:
    checkpoints = folder.output / "checkpoints"
    record_end(folder, checkpoints, torch_dist.iteration_of(torch_dist.newest(checkpoints)), reason)
