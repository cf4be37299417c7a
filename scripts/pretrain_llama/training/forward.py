"""Run tokens through a model on all pipeline stages, without gradients, for its logits."""

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel


@torch.no_grad()
def local_logits(model: GPTModel, tokens: torch.Tensor) -> torch.Tensor | None:
    """Return this process's part of the logits, (batch, sequence, its rows); None before the last stage.

    Every process of the model calls it, with the same tokens.

    Args:
        model: this process's part, in evaluation mode.
        tokens: (batch, sequence); under sequence parallelism, the sequence divides by the tensor parallel size.
    """
    config = model.config
    positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    if not parallel_state.is_pipeline_first_stage():
        length = tokens.shape[1] // (config.tensor_model_parallel_size if config.sequence_parallel else 1)
        shape = (length, tokens.shape[0], config.hidden_size)
        hidden = torch.empty(shape, dtype=config.params_dtype, device=tokens.device)
        dist.recv(hidden, parallel_state.get_pipeline_model_parallel_prev_rank())
        model.set_input_tensor(hidden)
    output = model(tokens, positions, None)
    if parallel_state.is_pipeline_last_stage():
        return output
    dist.send(output, parallel_state.get_pipeline_model_parallel_next_rank())
    return None
