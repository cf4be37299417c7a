"""Feed Megatron-LM: its datasets are our sequences, its forward step is one pass of its model through a batch."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.datasets.utils import Split
from megatron.core.models.gpt import GPTModel
from megatron.core.rerun_state_machine import get_rerun_state_machine
from megatron.core.utils import get_attr_wrapped_model, get_batch_on_this_cp_rank, get_batch_on_this_tp_rank
from megatron.training import get_args
from megatron.training.utils import is_first_or_last_pipeline_stage

from pretrain_llama.training.data.blend import Blend
from pretrain_llama.training.data.sequences import IndexedSequences

LOSS = "lm loss"  # as Megatron-LM calls it
PARTS = ("tokens", "labels", "loss_mask", "position_ids")
Batches = Iterator[dict[str, torch.Tensor]]
Report = dict[str, torch.Tensor]


class TrainingSequences(torch.utils.data.Dataset):
    """The sequences of a run by their number in all phases, of which Megatron-LM asks those of the present one."""

    split = Split.train

    def __init__(self, blend: Blend, first: int, length: int) -> None:
        """Number them; first: sequences of earlier phases; length: of the whole run."""
        self._blend, self._first, self._length = blend, first, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return self._blend[number - self._first]


class ValidationBatches(torch.utils.data.Dataset):
    """A validation set as micro batches, as many for each process; what fills it up is masked, so that nothing repeats.

    Megatron-LM takes items of a set that it evaluates whole one at a time; an item here is (micro batch, sequence).
    """

    split = Split.valid

    def __init__(self, sequences: IndexedSequences, size: int, processes: int) -> None:
        """Cut a set; size: sequences in a micro batch; processes: data parallel ones."""
        self._sequences, self._size = sequences, size
        self._length = -(-len(sequences) // (size * processes)) * processes

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        wanted = range(number * self._size, (number + 1) * self._size)
        items = [self._sequences[each if each < len(self._sequences) else None] for each in wanted]
        return {name: torch.stack([item[name] for item in items]) for name in PARTS}


def forward_step(batches: Batches, model: GPTModel) -> tuple[torch.Tensor, partial]:
    """Run one micro batch through this process's part of the model, as megatron-core's schedules ask for it."""
    stage = get_attr_wrapped_model(model, "vp_stage")
    tokens, labels, mask, positions = _batch(batches, stage)
    return model(tokens, positions, None, labels=labels, loss_mask=mask), partial(_loss, mask)


def _batch(batches: Batches, stage: int | None) -> list[Any]:
    """Return PARTS of a micro batch, as far as this process needs them; the first tensor parallel one reads them."""
    if not is_first_or_last_pipeline_stage(stage):
        return [None] * len(PARTS)
    args, rank = get_args(), parallel_state.get_tensor_model_parallel_rank()
    batch: dict[str, Any] = {"attention_mask": None, "cu_seqlens": None}
    if rank == 0:
        # Of a validation set, a batch is one item, (1, micro batch, sequence).
        batch |= {name: part.cuda(non_blocking=True).flatten(0, -2) for name, part in next(batches).items()}
    batch = get_batch_on_this_tp_rank(
        batch,
        has_cu_seqlens=False,
        is_hybrid_cp=False,
        create_attention_mask_in_dataloader=False,
        broadcast_src_rank=parallel_state.get_tensor_model_parallel_src_rank(),
        broadcast_group=parallel_state.get_tensor_model_parallel_group(),
        cp_size=args.context_parallel_size,
        tp_rank=rank,
        micro_batch_size=args.micro_batch_size,
        seq_length=args.seq_length,
        mtp_on_this_rank=False,
        pipeline_model_parallel_size=args.pipeline_model_parallel_size,
        is_pipeline_first_stage=parallel_state.is_pipeline_first_stage(),
        is_pipeline_last_stage=parallel_state.is_pipeline_last_stage(),
    )
    batch = get_batch_on_this_cp_rank(batch, is_hybrid_cp=False, cp_group=parallel_state.get_context_parallel_group())
    return [batch[name] for name in PARTS]


def _loss(mask: torch.Tensor, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Report]:
    """Return the sum of the losses of a micro batch, their number, and both as Megatron-LM reports them.

    Args:
        mask, losses: (micro batch, sequence).
    """
    total, tokens = (losses.float() * mask).sum(), mask.sum().to(torch.int)
    if get_args().check_for_nan_in_loss_and_grad:
        for reject, name in ((torch.isnan, "NaN"), (torch.isinf, "infinity")):
            message = f"{name} in the loss of a micro batch"
            get_rerun_state_machine().validate_result(total, reject, message, tolerance=0.0, fatal=True)
    return total, tokens, {LOSS: torch.stack([total.detach(), tokens.float()])}
