"""The state of a training: weights, optimizer, schedule, and position in the data.

There is no state of random numbers: the order of the data follows from the seed and the position, dropout is 0, and
nothing else in a training draws any (a test holds that).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.strategies.fully_parallel import FullyParallelLoadStrategyWrapper
from megatron.core.dist_checkpointing.strategies.torch import TorchDistLoadShardedStrategy
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from pretrain_llama.checkpoints import mapping, torch_dist
from pretrain_llama.checkpoints.torch_dist_metadata import read_metadata
from pretrain_llama.run.stages import Stage
from pretrain_llama.settings import TrainingSettings
from pretrain_llama.training.optimizer import after_loading, before_loading, forget
from pretrain_llama.training.optimizer_shards import distributed_optimizer, sharded_optimizer
from pretrain_llama.training.vocabulary_rows import MainWeights, make_padding, vocabulary_weights


def load_weights(model: GPTModel, checkpoint: str | Path, vocab_size: int) -> None:
    """Load a model's weights from a checkpoint of any layout; optimizer and counters stay as they are.

    Every process calls it; each reads its part of what data parallel processes share. Padding of the vocabulary is cut
    off or made.

    Args:
        model: this process's part.
        checkpoint: to load.
        vocab_size: rows that are no padding.
    """
    loaded = _load({"model": model.sharded_state_dict()}, checkpoint)
    model.load_state_dict(loaded["model"])
    make_padding(vocabulary_weights(model), None, _stored_rows(checkpoint), vocab_size)


def _load(sharded: dict[str, Any], checkpoint: str | Path) -> dict[str, Any]:
    """Load tensors; of those that all data parallel processes need, each reads some, and gives them to the others."""
    group = parallel_state.get_data_parallel_group()
    strategy = FullyParallelLoadStrategyWrapper(TorchDistLoadShardedStrategy(), group)
    return dist_checkpointing.load(sharded, str(checkpoint), strategy)


def _stored_rows(checkpoint: str | Path) -> int:
    """Return how many rows of the vocabulary a checkpoint has, padding included."""
    return read_metadata(Path(checkpoint)).tensors[mapping.EMBEDDING.megatron].size[0]


@dataclass(frozen=True)
class ModelParts:
    """A model of a training, and what belongs to it, on this process.

    Attributes:
        settle: gathers the weights that other processes have changed, see step.py.
        vocab_size: rows of the vocabulary that are no padding.
    """

    model: GPTModel
    optimizer: MegatronOptimizer
    scheduler: OptimizerParamScheduler
    settle: Callable[[], None]
    vocab_size: int


class TrainingState:
    """All that changes while a training runs.

    Attributes:
        iteration: optimizer steps done, those that were skipped too.
        trained: sequences in them, by which schedule and batch size go.
        consumed: sequences taken from the data; a rewind leaves some out, which count here and not in `trained`.
    """

    def __init__(
        self, parts: ModelParts, training: TrainingSettings, trained_after: Callable[[int], int], stage: Stage
    ) -> None:
        """Begin with nothing done.

        Args:
            parts: of this process.
            training: the hyperparameters of run.yaml, with the stage's own.
            trained_after: sequences that so many iterations of the whole training train on.
            stage: that is trained; the schedule counts its sequences.
        """
        self._trained_after, self._trained_before_stage = trained_after, trained_after(stage.begin)
        self.iteration = self.trained = self.consumed = 0
        self._parts, self._training = parts, training
        self._model, self._optimizer, self._scheduler = parts.model, parts.optimizer, parts.scheduler

    def start(self, pretrained: Path) -> None:
        """Start from pretrained weights."""
        self._parts.settle()  # nothing may arrive behind what is loaded
        load_weights(self._model, pretrained, self._parts.vocab_size)
        self._optimizer.reload_model_params()  # bf16: the optimizer keeps fp32 copies of its own

    def resume(self, checkpoint: Path, consumed: int) -> None:
        """Continue from a training's own checkpoint, of any layout, with the sequences after `consumed`."""
        loaded = _load(self.sharded(is_loading=True), checkpoint)
        self._model.load_state_dict(loaded["model"])
        loaded["optimizer"].pop("param_state", None)  # of the distributed optimizer: it was loaded into its own tensors
        before_loading(loaded["optimizer"], self._training)
        self._optimizer.load_state_dict(loaded["optimizer"])
        after_loading(self._optimizer)
        weights, main = vocabulary_weights(self._model), MainWeights(self._optimizer)
        make_padding(weights, main, _stored_rows(checkpoint), self._parts.vocab_size)
        self._scheduler.num_steps = 0  # to which load_state_dict adds
        self._scheduler.load_state_dict(loaded["opt_param_scheduler"])
        self.iteration, self.trained = loaded["iteration"], self._trained_before_stage + self._scheduler.num_steps
        self.consumed = consumed

    def begin_stage(self, checkpoint: Path, iteration: int, consumed: int) -> None:
        """Begin a stage with the weights of a checkpoint that an earlier one wrote at its end."""
        self.start(checkpoint)
        forget(self._optimizer)
        self.iteration, self.trained, self.consumed = iteration, self._trained_after(iteration), consumed
        self._scheduler.num_steps = 0
        self._scheduler.step(increment=self.trained - self._trained_before_stage)

    def advance(self, sequences: int) -> None:
        """Count a step of so many sequences."""
        self._scheduler.step(increment=sequences)
        self.iteration += 1
        self.trained += sequences
        self.consumed += sequences

    def sharded(self, is_loading: bool = False) -> dict[str, Any]:
        """Return what a checkpoint holds; the keys are Megatron-LM's, which can go on from these checkpoints."""
        self._parts.settle()
        model = self._model.sharded_state_dict()
        return {
            "model": model,
            "optimizer": self._sharded_optimizer(model, is_loading),
            "opt_param_scheduler": self._scheduler.state_dict(),
            "iteration": self.iteration,
            "consumed_train_samples": self.consumed,
            "checkpoint_version": torch_dist.CHECKPOINT_VERSION,
        }

    def _sharded_optimizer(self, model: dict[str, Any], is_loading: bool) -> dict[str, Any]:
        if distributed := distributed_optimizer(self._optimizer):
            return sharded_optimizer(distributed, model, is_loading)
        return self._optimizer.sharded_state_dict(model, is_loading=is_loading)
