"""Have megatron-core 0.19.2's distributed optimizer resume with torch's AdamW.

It was written for Transformer Engine's and Apex's fused Adam, which keep their step count elsewhere. Line numbers are
those of megatron/core/optimizer/distrib_optimizer.py. What a checkpoint holds of it: optimizer_shards.py.
"""

from typing import Any

import torch
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer


def create_adam_state(optimizer: MegatronOptimizer) -> None:
    """Create AdamW's state, which torch does at the first step; line 839 asks for the step count before.

    So does a checkpoint of a training that has skipped all its steps.
    """
    for inner, group in _groups(optimizer):
        for parameter in group["params"]:
            inner.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=_step_device(group, parameter)),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }


def load_without_steps() -> None:
    """Patch line 1223, which Megatron-LM's loading goes by, to skip `step`: the checkpoint lacks it (KeyError)."""
    DistributedOptimizer._set_main_param_and_optimizer_states = _set_main_param_and_optimizer_states


@torch.no_grad()
def _set_main_param_and_optimizer_states(
    self: DistributedOptimizer, model_param: torch.nn.Parameter, tensors: dict[str, torch.Tensor]
) -> None:
    group, order = self.model_param_group_index_map[model_param]
    main = self.optimizer.param_groups[group]["params"][order]
    for name, target in {"param": main, **self.optimizer.state[main]}.items():
        if name != "step":
            target.copy_(tensors[name])


def own_steps(optimizer: MegatronOptimizer) -> None:
    """Give each parameter a step count of its own after loading: line 1032 gives all of them one tensor.

    Each parameter's step would count in it, so that AdamW's bias correction runs away. A checkpoint may also come from
    another kind of device.
    """
    for inner, group in _groups(optimizer):
        for parameter in group["params"]:
            state = inner.state[parameter]
            # A count of 0, where all steps so far were skipped, is not in a checkpoint (optimizer.py:1187).
            loaded = state.get("step", torch.zeros((), dtype=torch.float32))
            state["step"] = loaded.to(_step_device(group, parameter), copy=True)


def _groups(optimizer: MegatronOptimizer) -> list[tuple[torch.optim.Optimizer, dict[str, Any]]]:
    chained = getattr(optimizer, "chained_optimizers", [optimizer])
    inner = [each.optimizer for each in chained if each.optimizer is not None]
    return [(each, group) for each in inner for group in each.param_groups]


def _step_device(group: dict[str, Any], parameter: torch.nn.Parameter) -> torch.device:
    """Return the device on which torch.optim.AdamW keeps a parameter's step count."""
    return parameter.device if group["fused"] else torch.device("cpu")
