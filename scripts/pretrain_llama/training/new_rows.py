"""Train only what a stage trains, and rows that are new to a vocabulary at a rate of their own."""

from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import MegatronOptimizer

from pretrain_llama.run.stages import ALL, NEW_ROWS, Stage
from pretrain_llama.settings import TrainingSettings
from pretrain_llama.training.vocabulary_rows import MainWeights, local_rows, vocabulary_weights


def freeze(model: GPTModel, stage: Stage) -> None:
    """Leave out of gradients and optimizer what a stage does not train; before the model is wrapped."""
    if stage.trains == ALL:
        return
    trained = set(vocabulary_weights(model))
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in trained)


class NewRows:
    """The rows that are new to a vocabulary, in the embedding and output layer of this process.

    With a rate r, what AdamW would change them by, weight decay included, is taken r times. In a stage that trains them
    alone, the gradients of the other rows are 0, and so is what AdamW does to them, whose moments are 0: they stay bit
    for bit. Their weight decay is left out, and that of the new rows is done here, as AdamW does it.
    """

    def __init__(
        self, model: GPTModel, optimizer: MegatronOptimizer, training: TrainingSettings, stage: Stage, vocab_size: int
    ) -> None:
        """Find them.

        Args:
            model: this process's part.
            optimizer: of it.
            training: the hyperparameters of run.yaml.
            stage: that is trained.
            vocab_size: rows that are no padding.
        """
        self._alone, self._rate = stage.trains == NEW_ROWS, training["new_rows_rate"]
        self._rows: list[tuple[torch.nn.Parameter, int, int]] = []
        self._main: list[torch.Tensor] = []
        self._before: list[torch.Tensor] = []
        self._decays: list[float] = []
        first = training["first_new_id"]
        if first is None or not (self._alone or self._rate != 1):
            return
        main = MainWeights(optimizer)
        for weight in vocabulary_weights(model):
            begin, end = local_rows(weight, first, vocab_size)
            self._rows.append((weight, begin, end))
            self._main.append(main.rows(weight, begin, end)[0])
        for part in getattr(optimizer, "chained_optimizers", [optimizer]):
            if part.optimizer is not None:
                part.optimizer.register_step_pre_hook(self._before_step)
                part.optimizer.register_step_post_hook(self._after_step)

    def mask(self) -> None:
        """Leave the gradients of the new rows alone, where nothing else is trained."""
        for weight, begin, end in self._rows if self._alone else []:
            gradient: torch.Tensor = weight.main_grad  # type: ignore[attr-defined]  # megatron-core's
            gradient[:begin] = 0
            gradient[end:] = 0

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._before = [rows.clone() for rows in self._main] if self._rate != 1 else []
        if self._alone:
            self._decays = [group["weight_decay"] for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                for rows in self._main:
                    rows.mul_(1 - group["lr"] * group["weight_decay"])
                group["weight_decay"] = 0.0

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for rows, before in zip(self._main, self._before, strict=bool(self._before)):
            rows.copy_(torch.lerp(before, rows, self._rate))
        for group, decay in zip(optimizer.param_groups, self._decays, strict=bool(self._decays)):
            group["weight_decay"] = decay
