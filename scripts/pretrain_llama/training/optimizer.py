"""Build AdamW and its learning rate schedule from megatron-core."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import USING_PYTORCH_OPTIMIZER, MegatronOptimizer, OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer.clip_grads import clip_grad_by_total_norm_fp32
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.transformer.transformer_config import TransformerConfig

from pretrain_llama.run.sizes import SCHEDULES
from pretrain_llama.run.stages import Stage
from pretrain_llama.settings import TrainingSettings
from pretrain_llama.training.distributed_optimizer import create_adam_state, own_steps


def build_optimizer(
    training: TrainingSettings, config: TransformerConfig, model: DistributedDataParallel
) -> MegatronOptimizer:
    """Return the optimizer of a model.

    Where Transformer Engine or Apex is installed, megatron-core takes its fused Adam, else torch's AdamW.

    Args:
        training: the hyperparameters of run.yaml.
        config: of the model.
        model: wrapped for data parallelism.
    """
    optimizer = get_megatron_optimizer(
        OptimizerConfig(
            optimizer="adam",
            lr=training["learning_rate"],
            min_lr=training["min_learning_rate"],
            weight_decay=training["weight_decay"],
            adam_beta1=training["adam_beta1"],
            adam_beta2=training["adam_beta2"],
            adam_eps=training["adam_epsilon"],
            clip_grad=training["gradient_clip_norm"],
            bf16=config.bf16,
            params_dtype=config.params_dtype,
            use_distributed_optimizer=model.ddp_config.use_distributed_optimizer,
        ),
        [model],
    )
    prepare(optimizer)
    return optimizer


def prepare(optimizer: MegatronOptimizer) -> None:
    """Make an optimizer of megatron-core, where it has torch's AdamW, fast on a GPU and able to resume."""
    _set_fused(optimizer)
    if USING_PYTORCH_OPTIMIZER:
        create_adam_state(optimizer)


def build_schedule(
    training: TrainingSettings, optimizer: MegatronOptimizer, trained_after: Callable[[int], int], stage: Stage
) -> OptimizerParamScheduler:
    """Return the schedule of an optimizer in a stage, which counts the stage's sequences.

    What run.yaml says overrides a checkpoint.

    wsd falls as 1 - sqrt, the best of the shapes compared in arXiv 2405.18392.

    Args:
        training: the hyperparameters of run.yaml, with the stage's own.
        optimizer: whose rate it sets.
        trained_after: sequences that so many iterations of the whole training train on.
        stage: that is trained.
    """
    before, end = trained_after(stage.begin), trained_after(stage.end)
    style = SCHEDULES[training["schedule"]]
    if style == SCHEDULES["wsd"] and not stage.is_last:
        style = SCHEDULES["constant"]
    falling = training.get("decay_iterations", 0)
    # Norms and other vectors carry a weight decay multiplier of 0, which only the schedule applies.
    return OptimizerParamScheduler(
        optimizer,
        init_lr=0.0,
        max_lr=training["learning_rate"],
        min_lr=training["min_learning_rate"],
        lr_warmup_steps=trained_after(stage.begin + stage.warmup_iterations) - before,
        lr_decay_steps=end - before,
        lr_decay_style=style,
        start_wd=training["weight_decay"],
        end_wd=training["weight_decay"],
        wd_incr_steps=end - before,
        wd_incr_style="constant",
        use_checkpoint_opt_param_scheduler=False,
        override_opt_param_scheduler=True,
        wsd_decay_steps=end - trained_after(stage.end - falling),
        lr_wsd_decay_style="minus_sqrt",
    )


def before_loading(saved: dict[str, Any], training: TrainingSettings) -> None:
    """Give a saved optimizer's parameter groups what run.yaml says of AdamW; a new phase may say something else.

    megatron-core 0.19.2 finds a group's saved state by its rates (`param_group_identifier_keys`), and would find none.

    Args:
        saved: the optimizer's state of a checkpoint, of either optimizer.
        training: the hyperparameters of run.yaml.
    """
    for group in saved.get("optimizer", saved)["param_groups"]:
        group["max_lr"], group["min_lr"] = training["learning_rate"], training["min_learning_rate"]
        group["betas"] = (training["adam_beta1"], training["adam_beta2"])
        group["eps"] = training["adam_epsilon"]


def after_loading(optimizer: MegatronOptimizer) -> None:
    """Set AdamW's options of this machine; a checkpoint carries those of the machine that wrote it."""
    _set_fused(optimizer)
    if USING_PYTORCH_OPTIMIZER:
        own_steps(optimizer)


def forget(optimizer: MegatronOptimizer) -> None:
    """Set moments and step counts back to 0, as those of an optimizer that has taken no step."""
    for part in getattr(optimizer, "chained_optimizers", [optimizer]):
        for group in part.param_groups:
            group.pop("step", None)  # of Transformer Engine's and Apex's Adam
        for state in part.optimizer.state.values() if part.optimizer else []:
            for tensor in state.values():
                tensor.zero_()


def _set_fused(optimizer: MegatronOptimizer) -> None:
    """Have torch's AdamW update all parameters in one kernel on a GPU; get_megatron_optimizer cannot ask for it."""
    if USING_PYTORCH_OPTIMIZER:
        for group in optimizer.param_groups:
            group["fused"] = torch.cuda.is_available()


def gradient_norm(optimizer: MegatronOptimizer) -> float:
    """Return the L2 norm of gradients that are ready, over all processes; every process calls it.

    One kernel for all parameters, in fp64, and one wait for the device: megatron-core's own waits for each parameter
    where neither Transformer Engine nor Apex is installed (utils.py:1206), and sums in fp32.
    """
    parts = getattr(optimizer, "chained_optimizers", [optimizer])
    gradients = [gradient for part in parts for gradient in part.get_grads_for_grad_norm()]
    norms = torch._foreach_norm(gradients, 2, torch.float64) if gradients else [torch.zeros((), dtype=torch.float64)]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    square = torch.stack(norms).square().sum().to(device)
    dist.all_reduce(square, group=optimizer.get_grad_stats_parallel_group())
    return square.sqrt().item()


def clip_and_step(optimizer: MegatronOptimizer, norm: float) -> None:
    """Take a step with gradients that are ready; norm: their L2 norm over all processes."""
    clip_grad_by_total_norm_fp32(optimizer.get_parameters(), optimizer.config.clip_grad, norm)
    optimizer.step_with_ready_grads()
