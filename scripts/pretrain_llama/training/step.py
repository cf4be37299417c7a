"""Run one pass through the model and one optimizer step, on all processes together."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer.module import Float16Module
from megatron.core.transformer.transformer_config import TransformerConfig

from pretrain_llama.settings import ParallelSettings, TrainingSettings
from pretrain_llama.training.attention import document_mask
from pretrain_llama.training.data.batches import MicroBatch
from pretrain_llama.training.watching import Clock

# Of what is sent at once, parallel to computation, in parameters; None takes megatron-core's 40 million, or 1 million a
# data parallel process where that is more.
BUCKET_PARAMETERS: int | None = None


def wrap_model(model: GPTModel, config: TransformerConfig, parallel: ParallelSettings) -> DistributedDataParallel:
    """Wrap a model for data parallelism; in bf16 its gradients are summed in fp32.

    With the distributed optimizer and overlap, gradients are reduced during the backward pass, and weights gathered
    during the forward pass that needs them: after a step, a process has new values only of its own part. `settle`
    gathers the rest.
    """
    distributed = parallel["distributed_optimizer"]
    overlap = distributed and parallel["overlap"] and parallel_state.get_data_parallel_world_size() > 1
    ddp_config = DistributedDataParallelConfig(
        grad_reduce_in_fp32=config.bf16,
        use_distributed_optimizer=distributed,
        overlap_grad_reduce=overlap,
        overlap_param_gather=overlap,
        bucket_size=BUCKET_PARAMETERS,
    )
    wrapped = DistributedDataParallel(config, ddp_config, Float16Module(config, model) if config.bf16 else model)
    if overlap:
        config.no_sync_func = wrapped.no_sync  # or each micro batch's gradients would be reduced
    return wrapped


@torch.no_grad()
def settle(model: DistributedDataParallel) -> None:
    """Gather the weights that a step has changed, where the next forward pass would; every process calls it."""
    if model.ddp_config.overlap_param_gather:
        model.start_param_sync(force_sync=True)


class Passes:
    """Forward and backward passes of a wrapped model, through megatron-core's schedules.

    Attributes:
        clock: of the last backward pass.
    """

    def __init__(
        self, model: DistributedDataParallel, training: TrainingSettings, optimizer: MegatronOptimizer
    ) -> None:
        """Use a model; training: the hyperparameters of run.yaml; optimizer: which the gradients are for."""
        self._model = model
        self._micro_batch_size = training["micro_batch_size_sequences"]
        self._sequence_length = training["sequence_length_tokens"]
        self._optimizer = optimizer
        self._run = get_forward_backward_func()
        self.clock = Clock()
        model.config.finalize_model_grads_func = self._finalize
        model.config.grad_scale_func = optimizer.scale_loss

    def backward(self, batches: Iterator[MicroBatch], count: int) -> float:
        """Compute the gradients of one global batch; return its loss in nats a token, the same on every process."""
        self.clock.begin()
        self._model.zero_grad_buffer()
        self._optimizer.zero_grad()  # the gradients are views of that buffer: kept, they would count twice
        loss, tokens = self._pass(batches, count, forward_only=False)
        return loss / tokens

    def _finalize(self, *args: Any, **kwargs: Any) -> None:
        self.clock.ready()
        finalize_model_grads(*args, **kwargs)

    @torch.no_grad()
    def evaluate(self, batches: Iterator[MicroBatch], count: int) -> tuple[float, float]:
        """Return the sum of the losses of some micro batches in nats, and their tokens."""
        settle(self._model)
        self._model.eval()
        sums = self._pass(batches, count, forward_only=True)
        self._model.train()
        return sums

    def _pass(self, batches: Iterator[MicroBatch], count: int, forward_only: bool) -> tuple[float, float]:
        sums = self._run(
            forward_step_func=_forward,
            data_iterator=batches,
            model=[self._model],
            num_microbatches=count,
            micro_batch_size=self._micro_batch_size,
            seq_length=self._sequence_length,
            decoder_seq_length=self._sequence_length,
            forward_only=forward_only,
        )
        # Only the last pipeline stage knows the loss.
        device = next(self._model.parameters()).device
        total = torch.stack(sums).sum(0) if sums else torch.zeros(2, dtype=torch.float64, device=device)
        if sums:
            dist.all_reduce(total, group=parallel_state.get_data_parallel_group())
        if parallel_state.get_pipeline_model_parallel_world_size() > 1:
            last = parallel_state.get_pipeline_model_parallel_last_rank()
            dist.broadcast(total, last, parallel_state.get_pipeline_model_parallel_group())
        loss, tokens = total.tolist()
        return loss, tokens


def _forward(batches: Iterator[MicroBatch], model: DistributedDataParallel) -> tuple[torch.Tensor, partial]:
    """Run one micro batch through this process's part of the model, as megatron-core's schedules ask for it."""
    batch = next(batches)
    mask = document_mask(batch["documents"], model.config.params_dtype) if "documents" in batch else None
    output = model(batch["tokens"], batch["position_ids"], mask, labels=batch["labels"])
    return output, partial(_loss, batch["loss_mask"])


def _loss(mask: torch.Tensor, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss of a micro batch, for autograd, and (2,) the sum of its losses and their number.

    Args:
        mask, losses: (micro batch, sequence).
    """
    total, tokens = (losses.float() * mask).sum(), mask.sum()
    return total / tokens.clamp(min=1), torch.stack([total.detach(), tokens]).double()
