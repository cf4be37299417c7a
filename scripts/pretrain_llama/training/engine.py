"""Model, optimizer and schedule of a training on this process, and passes through them."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.distributed as dist

from pretrain_llama.run.folder import RunFolder
from pretrain_llama.run.stages import Stage
from pretrain_llama.training.attention import described
from pretrain_llama.training.data.batches import BatchReader, MicroBatch
from pretrain_llama.training.model import build_model, mask_padding_in_evaluation, transformer_config
from pretrain_llama.training.new_rows import NewRows, freeze
from pretrain_llama.training.optimizer import build_optimizer, build_schedule, clip_and_step, gradient_norm
from pretrain_llama.training.processes import seed_everything
from pretrain_llama.training.state import ModelParts, TrainingState
from pretrain_llama.training.step import Passes, settle, wrap_model


class Engine:
    """The model of a run, with its optimizer and schedule.

    Attributes:
        model: this process's part, without its wrappers.
        state: all that changes, see `TrainingState`.
        computing: how, for the record of a start.
    """

    def __init__(
        self, folder: RunFolder, device: torch.device, trained_after: Callable[[int], int], stage: Stage
    ) -> None:
        """Build it.

        Args:
            folder: of the run.
            device: of this process.
            trained_after: sequences that so many iterations of the whole training train on.
            stage: that is trained.
        """
        training, parallel = stage.applied(folder.training), folder.run["parallel"]
        vocab_size = folder.architecture.vocab_size
        seed_everything(training["seed"])
        deterministic = folder.operation["deterministic"]
        torch.use_deterministic_algorithms(deterministic)
        config = transformer_config(folder.architecture, training["precision"], parallel, deterministic)
        model = build_model(folder.architecture, config, training["sequence_length_tokens"]).to(device)
        mask_padding_in_evaluation(model, vocab_size)
        freeze(model, stage)
        self.model = model
        wrapped = wrap_model(model, config, parallel)
        self._optimizer = build_optimizer(training, config, wrapped)
        self._new_rows = NewRows(model, self._optimizer, training, stage, vocab_size)
        schedule = build_schedule(training, self._optimizer, trained_after, stage)
        self._passes = Passes(wrapped, training, self._optimizer)
        parts = ModelParts(model, self._optimizer, schedule, partial(settle, wrapped), vocab_size)
        self.computing = {
            "attention": described(training["reset_attention_mask"], deterministic),
            "weight_gradients": "fp32" if config.gradient_accumulation_fusion else training["precision"],
            "overlap": str(wrapped.ddp_config.overlap_param_gather).lower(),
            "deterministic": str(deterministic).lower(),
        }
        self.state = TrainingState(parts, training, trained_after, stage)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self._optimizer.param_groups[0]["lr"]

    def gradients(self, batches: Iterator[MicroBatch], count: int) -> tuple[float, float]:
        """Compute the gradients of a global batch; return its loss in nats a token, and their L2 norm."""
        loss = self._passes.backward(batches, count)
        self._new_rows.mask()
        self._optimizer.prepare_grads()
        return loss, gradient_norm(self._optimizer)

    def tell_slowest_and_fastest(self) -> None:
        """Print a line on the last step's slowest and fastest process, on the first; every process calls it."""
        line = self._passes.clock.slowest_and_fastest()
        if dist.get_rank() == 0:
            print(line, flush=True)

    def take_step(self, norm: float) -> None:
        """Change the weights by the gradients; norm: theirs."""
        clip_and_step(self._optimizer, norm)

    def evaluate(self, reader: BatchReader) -> float:
        """Return the loss of a whole dataset in nats a token."""
        total, tokens = self._passes.evaluate(reader.read(0, reader.sequences), reader.count(reader.sequences))
        return total / tokens
