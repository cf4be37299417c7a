"""The logits of transformers and of megatron-core for the same checkpoint and tokens."""

from pathlib import Path

import torch
from megatron.core import tensor_parallel

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.training.model import build_model, transformer_config
from pretrain_llama.training.state import load_weights

BATCH, SEQUENCE = 2, 128


def probe_tokens(architecture: Architecture) -> torch.Tensor:
    """Return tokens to compare on, the same on every call: (batch, sequence), every id of the vocabulary likely."""
    generator = torch.Generator().manual_seed(0)
    length = min(SEQUENCE, architecture.max_positions)
    return torch.randint(0, architecture.vocab_size, (BATCH, length), generator=generator)


@torch.no_grad()
def transformers_logits(folder: str | Path, tokens: torch.Tensor) -> torch.Tensor:
    """Return the logits of a Hugging Face folder in fp32: (batch, sequence, vocabulary)."""
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(tokens).logits


@torch.no_grad()
def megatron_logits(checkpoints: str | Path, architecture: Architecture, tokens: torch.Tensor) -> torch.Tensor:
    """Return the logits of the newest torch_dist checkpoint of a folder in fp32: (batch, sequence, vocabulary).

    Needs megatron-core's process groups, of pipeline parallel size 1; padding is cut off.
    """
    model = build_model(architecture, transformer_config(architecture, "fp32"), tokens.shape[1]).eval()
    load_weights(model, torch_dist.latest(checkpoints))
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    logits = tensor_parallel.gather_from_tensor_model_parallel_region(model(tokens, positions, None))
    return logits[..., : architecture.vocab_size]
