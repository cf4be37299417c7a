"""The state of a training: what it resumes from, and what it must not resume from."""

from pathlib import Path
from typing import Any

import torch.distributed as dist
from megatron.core import dist_checkpointing
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import read_json, write_json
from pretrain_llama.training.run_folder import RunFolder


def prepare_output(folder: RunFolder) -> None:
    """Claim output/ for this run. Called by one process, before the others look there.

    An output begun with another identity is refused, or, with `on_change: restart`, kept under another name.

    Raises:
        OperatorError: the run changed, and shall not restart.
    """
    claim = folder.output / "identity.json"
    begun = read_json(claim) if claim.exists() else folder.identity
    changed = [part for part in folder.identity if begun.get(part) != folder.identity[part]]
    if changed and folder.run["on_change"] == "refuse":
        differences = "\n".join(
            f"    {part}: {_difference(begun.get(part), folder.identity[part])}" for part in changed
        )
        raise OperatorError(
            f"the run changed since its training began:\n{differences}",
            where=folder.output,
            action="undo the change to resume; or give the run a new name in config/runs/ and config.yaml; or set "
            "on_change: restart in run.yaml, which keeps this output under another name",
        )
    if changed:
        kept = _free_name(folder.output)
        folder.output.rename(kept)
        print(f"the run changed ({', '.join(changed)}): the earlier output is kept as {kept}", flush=True)
    write_json(claim, folder.identity)


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
        shown = "; ".join(f"{key}: {before.get(key)} -> {now.get(key)}" for key in keys[:5])
        return shown + (f"; and {len(keys) - 5} more" if len(keys) > 5 else "")
    return f"{before} -> {now}"


def _free_name(output: Path) -> Path:
    number = 1
    while (kept := output.with_name(f"{output.name}_before_change_{number}")).exists():
        number += 1
    return kept


def load_weights(model: GPTModel, checkpoint: str | Path) -> None:
    """Load a model's weights from a checkpoint of any layout; optimizer and counters stay as they are."""
    loaded = dist_checkpointing.load({"model": model.sharded_state_dict()}, str(checkpoint))
    model.load_state_dict(loaded["model"])


class TrainingState:
    """All that changes while a training runs: weights, optimizer, schedule, and how far it is.

    Attributes:
        iteration: optimizer steps done.
        consumed: sequences consumed.
    """

    def __init__(self, model: GPTModel, optimizer: MegatronOptimizer, scheduler: OptimizerParamScheduler) -> None:
        self.iteration = self.consumed = 0
        self._model, self._optimizer, self._scheduler = model, optimizer, scheduler

    def start(self, pretrained: Path) -> None:
        """Start from pretrained weights."""
        load_weights(self._model, pretrained)
        self._optimizer.reload_model_params()  # bf16: the optimizer keeps fp32 copies of its own

    def resume(self, checkpoint: Path) -> None:
        """Continue from a training's own checkpoint, of any layout."""
        loaded = dist_checkpointing.load(self._sharded(is_loading=True), str(checkpoint))
        self._model.load_state_dict(loaded["model"])
        self._optimizer.load_state_dict(loaded["optimizer"])
        self._scheduler.load_state_dict(loaded["opt_param_scheduler"])
        self.iteration, self.consumed = loaded["iteration"], loaded["consumed_train_samples"]

    def save(self, checkpoints: Path) -> Path:
        """Write a checkpoint, and name it as the newest once it is whole."""
        folder = torch_dist.iteration_folder(checkpoints, self.iteration)
        if dist.get_rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
        dist.barrier()
        dist_checkpointing.save(self._sharded(is_loading=False), str(folder))
        dist.barrier()
        if dist.get_rank() == 0:
            torch_dist.write_tracker(checkpoints, self.iteration)
        return folder

    def _sharded(self, is_loading: bool) -> dict[str, Any]:
        """The keys are Megatron-LM's, which can go on from these checkpoints."""
        model = self._model.sharded_state_dict()
        return {
            "model": model,
            "optimizer": self._optimizer.sharded_state_dict(model, is_loading=is_loading),
            "opt_param_scheduler": self._scheduler.state_dict(),
            "iteration": self.iteration,
            "consumed_train_samples": self.consumed,
            "checkpoint_version": torch_dist.CHECKPOINT_VERSION,
        }
