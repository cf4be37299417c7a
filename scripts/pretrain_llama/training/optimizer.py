"""AdamW and the schedule of its learning rate, from megatron-core."""

from typing import Any

from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer, OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.transformer.transformer_config import TransformerConfig


def build_optimizer(
    training: dict[str, Any], config: TransformerConfig, model: DistributedDataParallel
) -> tuple[MegatronOptimizer, OptimizerParamScheduler]:
    """Return the optimizer of a model and its schedule, which counts in sequences.

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
        ),
        [model],
    )
    batch = training["global_batch_size_sequences"]
    length = training["iterations"] * batch
    # Norms and other vectors carry a weight decay multiplier of 0, which only the schedule applies.
    scheduler = OptimizerParamScheduler(
        optimizer,
        init_lr=0.0,
        max_lr=training["learning_rate"],
        min_lr=training["min_learning_rate"],
        lr_warmup_steps=training["warmup_iterations"] * batch,
        lr_decay_steps=length,
        lr_decay_style=training["schedule"],
        start_wd=training["weight_decay"],
        end_wd=training["weight_decay"],
        wd_incr_steps=length,
        wd_incr_style="constant",
    )
    return optimizer, scheduler
