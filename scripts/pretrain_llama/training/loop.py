"""The training loop."""

import time
from collections.abc import Iterator
from functools import partial

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer.module import Float16Module

from pretrain_llama.checkpoints import passport, torch_dist
from pretrain_llama.files import write_json
from pretrain_llama.training.data import build_dataset, micro_batches
from pretrain_llama.training.logs import TrainingLog
from pretrain_llama.training.model import build_model, transformer_config
from pretrain_llama.training.optimizer import build_optimizer
from pretrain_llama.training.processes import process_groups, seed_everything
from pretrain_llama.training.run_folder import RunFolder
from pretrain_llama.training.sizes import micro_batch_count
from pretrain_llama.training.state import TrainingState, prepare_output


def train(folder: RunFolder) -> None:
    """Train a run to its end, from where it stands: its newest checkpoint, or else the pretrained weights.

    Every process of the training calls it. Writes output/finished.json last.

    Raises:
        ConfigError: parallel or batch sizes do not fit.
        OperatorError: the run changed since its training began, or its checkpoint since it was converted.
    """
    parallel = folder.run["parallel"]
    place = folder.path / "run.yaml"
    folder.architecture.check_parallel(parallel["tensor"], parallel["pipeline"], f"{place}: parallel")
    passport.check(folder.path / "checkpoint", parallel["tensor"])
    with process_groups(parallel["tensor"], parallel["pipeline"], f"{place}: parallel") as device:
        data_parallel = parallel_state.get_data_parallel_world_size()
        batches = micro_batch_count(folder.training, data_parallel, place)
        if dist.get_rank() == 0:
            prepare_output(folder)
        dist.barrier()
        Trainer(folder, batches, device).run()


class Trainer:
    """A run's model, optimizer and data, on this process."""

    def __init__(self, folder: RunFolder, micro_batches_a_step: int, device: torch.device) -> None:
        training = folder.training
        self._folder, self._training, self._device = folder, training, device
        self._micro_batches_a_step = micro_batches_a_step
        seed_everything(training["seed"])
        config = transformer_config(folder.architecture, training["precision"])
        model = build_model(folder.architecture, config, training["sequence_length_tokens"]).to(device)
        wrapped = Float16Module(config, model) if config.bf16 else model
        ddp_config = DistributedDataParallelConfig(grad_reduce_in_fp32=config.bf16)
        self._model = DistributedDataParallel(config, ddp_config, wrapped)
        self._optimizer, self._scheduler = build_optimizer(training, config, self._model)
        config.finalize_model_grads_func = finalize_model_grads
        config.grad_scale_func = self._optimizer.scale_loss
        self._state = TrainingState(model, self._optimizer, self._scheduler)
        self._dataset = build_dataset(folder)

    def run(self) -> None:
        """Train to the last iteration, with a checkpoint now and then and one at the end."""
        checkpoints = self._folder.output / "checkpoints"
        newest = torch_dist.latest(checkpoints)
        if newest:
            self._state.resume(newest)
        else:
            self._state.start(torch_dist.latest(self._folder.path / "checkpoint"))
        is_writer = dist.get_rank() == 0
        if is_writer:
            print(f"{'resuming' if newest else 'starting'} at iteration {self._state.iteration}", flush=True)
            log = TrainingLog(self._folder.output, self._state.iteration, self._training["log_every_iterations"])
        while self._state.iteration < self._training["iterations"]:
            record = self._step()
            if is_writer:
                log.write(record)
            at_end = self._state.iteration == self._training["iterations"]
            if at_end or self._state.iteration % self._training["checkpoint_every_iterations"] == 0:
                newest = self._state.save(checkpoints)
        if is_writer:
            log.close()
            finished = {"iteration": self._state.iteration, "checkpoint": str(newest.relative_to(self._folder.path))}
            write_json(self._folder.output / "finished.json", finished)

    def _step(self) -> dict[str, float]:
        """Do one optimizer step; return what to log."""
        start = time.perf_counter()
        self._model.zero_grad_buffer()
        self._optimizer.zero_grad()
        loss = self._forward_backward()
        _, gradient_norm, _ = self._optimizer.step()
        learning_rate = self._optimizer.param_groups[0]["lr"]
        sequences = self._training["global_batch_size_sequences"]
        self._scheduler.step(increment=sequences)
        self._state.iteration += 1
        self._state.consumed += sequences
        seconds = time.perf_counter() - start
        return {
            "iteration": self._state.iteration,
            "loss": loss,
            "gradient_norm": float(gradient_norm),
            "learning_rate": learning_rate,
            "consumed_tokens": self._state.consumed * self._training["sequence_length_tokens"],
            "tokens_per_second": sequences * self._training["sequence_length_tokens"] / seconds,
        }

    def _forward_backward(self) -> float:
        """Compute the gradients of one global batch; return its loss in nats a token, the same on every process."""
        micro_batch_size = self._training["micro_batch_size_sequences"]
        losses = get_forward_backward_func()(
            forward_step_func=_forward,
            data_iterator=micro_batches(
                self._dataset, self._state.consumed, micro_batch_size, self._micro_batches_a_step, self._device
            ),
            model=[self._model],
            num_microbatches=self._micro_batches_a_step,
            seq_length=self._training["sequence_length_tokens"],
            micro_batch_size=micro_batch_size,
            decoder_seq_length=self._training["sequence_length_tokens"],
            forward_only=False,
        )
        # Only the last pipeline stage knows the loss.
        mean = torch.stack([each["loss"] for each in losses]).mean() if losses else torch.zeros((), device=self._device)
        if losses:
            dist.all_reduce(mean, dist.ReduceOp.SUM, parallel_state.get_data_parallel_group())
            mean /= parallel_state.get_data_parallel_world_size()
        if parallel_state.get_pipeline_model_parallel_world_size() > 1:
            last = parallel_state.get_pipeline_model_parallel_last_rank()
            dist.broadcast(mean, last, parallel_state.get_pipeline_model_parallel_group())
        return float(mean)


def _forward(batches: Iterator[dict[str, torch.Tensor]], model: torch.nn.Module) -> tuple[torch.Tensor, partial]:
    """Run one micro batch through this process's part of the model, as megatron-core's schedules ask for it."""
    batch = next(batches)
    output = model(batch["tokens"], batch["position_ids"], None, labels=batch["labels"])
    return output, partial(_loss, batch["loss_mask"])


def _loss(mask: torch.Tensor, losses: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the mean loss of a micro batch; mask, losses: (batch, sequence)."""
    mean = (losses.float() * mask).sum() / mask.sum()
    return mean, {"loss": mean.detach().clone()}  # cloned, since the schedule divides the first in place
