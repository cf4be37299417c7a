"""The state of a training: weights, optimizer, schedule, and position in the data.

There is no state of random numbers: the order of the data follows from the seed and the position, dropout is 0, and
nothing else in a training draws any (a test holds that).
"""

from pathlib import Path
from typing import Any

from megatron.core import dist_checkpointing
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.settings import TrainingSettings
from pretrain_llama.training.distributed_optimizer import SHARDING
from pretrain_llama.training.optimizer import after_loading, before_loading


def load_weights(model: GPTModel, checkpoint: str | Path) -> None:
    """Load a model's weights from a checkpoint of any layout; optimizer and counters stay as they are."""
    loaded = dist_checkpointing.load({"model": model.sharded_state_dict()}, str(checkpoint))
    model.load_state_dict(loaded["model"])


class TrainingState:
    """All that changes while a training runs.

    Attributes:
        iteration: optimizer steps done, those that were skipped too.
        trained: sequences in them, by which schedule and batch size go.
        consumed: sequences taken from the data; a rewind leaves some out, which count here and not in `trained`.
    """

    def __init__(
        self,
        model: GPTModel,
        optimizer: MegatronOptimizer,
        scheduler: OptimizerParamScheduler,
        training: TrainingSettings,
    ) -> None:
        self.iteration = self.trained = self.consumed = 0
        self._model, self._optimizer, self._scheduler, self._training = model, optimizer, scheduler, training

    def start(self, pretrained: Path) -> None:
        """Start from pretrained weights."""
        load_weights(self._model, pretrained)
        self._optimizer.reload_model_params()  # bf16: the optimizer keeps fp32 copies of its own

    def resume(self, checkpoint: Path, consumed: int) -> None:
        """Continue from a training's own checkpoint, of any layout, with the sequences after `consumed`."""
        loaded = dist_checkpointing.load(self.sharded(is_loading=True), str(checkpoint))
        self._model.load_state_dict(loaded["model"])
        before_loading(loaded["optimizer"], self._training)
        self._optimizer.load_state_dict(loaded["optimizer"])
        after_loading(self._optimizer)
        self._scheduler.num_steps = 0  # to which load_state_dict adds
        self._scheduler.load_state_dict(loaded["opt_param_scheduler"])
        self.iteration, self.trained = loaded["iteration"], self._scheduler.num_steps
        self.consumed = consumed

    def advance(self, sequences: int) -> None:
        """Count a step of so many sequences."""
        self._scheduler.step(increment=sequences)
        self.iteration += 1
        self.trained += sequences
        self.consumed += sequences

    def sharded(self, is_loading: bool = False) -> dict[str, Any]:
        """Return what a checkpoint holds; the keys are Megatron-LM's, which can go on from these checkpoints."""
        model = self._model.sharded_state_dict()
        return {
            "model": model,
            "optimizer": self._optimizer.sharded_state_dict(model, is_loading=is_loading, metadata=SHARDING),
            "opt_param_scheduler": self._scheduler.state_dict(),
            "iteration": self.iteration,
            "consumed_train_samples": self.consumed,
            "checkpoint_version": torch_dist.CHECKPOINT_VERSION,
        }
