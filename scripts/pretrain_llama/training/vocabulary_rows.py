"""Find rows of the vocabulary in this process's part of the model and of its optimizer, and make rows of padding."""

from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

from pretrain_llama.training.optimizer_shards import own_ranges

_VOCABULARY = ("word_embeddings.weight", "output_layer.weight")


def vocabulary_weights(model: GPTModel) -> list[torch.nn.Parameter]:
    """Return the embedding and the output layer of this process: (its rows, hidden size); none within a pipeline."""
    return [parameter for name, parameter in model.named_parameters() if name.endswith(_VOCABULARY)]


def local_rows(weight: torch.Tensor, begin: int, end: int) -> tuple[int, int]:
    """Return which rows of this process's weight are rows `begin` to `end` of the vocabulary; an empty range is 0, 0.

    Each tensor parallel process has as many rows, in order.
    """
    first = len(weight) * parallel_state.get_tensor_model_parallel_rank()
    start, stop = max(begin - first, 0), min(end - first, len(weight))
    return (start, stop) if start < stop else (0, 0)


class MainWeights:
    """The weights that an optimizer changes: fp32 copies of a model's, or the model's own."""

    def __init__(self, optimizer: MegatronOptimizer) -> None:
        """Find them."""
        self._found: dict[torch.nn.Parameter, tuple[torch.Tensor, int]] = {}
        for each in getattr(optimizer, "chained_optimizers", [optimizer]):
            self._find(each)

    def _find(self, optimizer: Any) -> None:
        if isinstance(optimizer, DistributedOptimizer):
            for parameter, (begin, _) in own_ranges(optimizer).items():
                main = optimizer._get_main_param_and_optimizer_states(parameter)["param"]
                self._found[parameter] = main.data, begin
            return
        copies = zip(
            getattr(optimizer, "float16_groups", []), getattr(optimizer, "fp32_from_float16_groups", []), strict=True
        )
        for parameters, mains in copies:
            for parameter, main in zip(parameters, mains, strict=True):
                self._found[parameter] = main.data.view(-1), 0
        for group in getattr(optimizer, "fp32_from_fp32_groups", None) or optimizer.param_groups:
            for parameter in group if isinstance(group, list) else group["params"]:
                self._found.setdefault(parameter, (parameter.data.view(-1), 0))

    def rows(self, weight: torch.nn.Parameter, begin: int, end: int) -> tuple[torch.Tensor, int]:
        """Return what the optimizer of this process has of some rows of a weight.

        Args:
            weight: of the model, (rows, columns).
            begin, end: rows of this process's weight.

        Returns:
            a flat view of it, which may be empty, and at which element of the rows it begins.
        """
        if weight not in self._found:
            return torch.empty(0, device=weight.device), 0
        flat, offset = self._found[weight]
        columns = weight.shape[1]
        start = min(max(begin * columns - offset, 0), len(flat))
        stop = min(max(end * columns - offset, 0), len(flat))
        return flat[start:stop], max(offset - begin * columns, 0)


@torch.no_grad()
def make_padding(weights: list[torch.nn.Parameter], main: MainWeights | None, stored: int, vocab_size: int) -> None:
    """Fill the rows that pad the vocabulary further than a loaded checkpoint did; every process calls it.

    They are as the last row that padded it there, which the training has made improbable; without one, the mean of the
    vocabulary's rows.

    Args:
        weights: the vocabulary's, loaded; the further rows are 0.
        main: the optimizer's, loaded; None where there is none, or where it takes them from the model afterwards.
        stored: rows in the checkpoint.
        vocab_size: rows that are no padding.
    """
    group = parallel_state.get_tensor_model_parallel_group()
    built = len(weights[0]) * group.size() if weights else 0
    for weight in weights if stored < built else []:
        first, last = (stored - 1, stored) if stored > vocab_size else (0, vocab_size)
        row = weight[slice(*local_rows(weight, first, last))].double().sum(0) / (last - first)
        dist.all_reduce(row, group=group)
        begin, end = local_rows(weight, stored, built)
        weight[begin:end] = row.to(weight.dtype)
        if main:
            flat, offset = main.rows(weight, begin, end)
            flat.copy_(weight[begin:end].reshape(-1)[offset : offset + len(flat)])
