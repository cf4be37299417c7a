"""Accumulate weight gradients in fp32 within the matrix product, without Apex.

Without that, the gradient of each micro batch is rounded to bf16, and then added. megatron-core calls Apex's kernel by
the name of its module (tensor_parallel/layers.py); here, torch takes that kernel's place.
"""

from types import SimpleNamespace

import torch
from megatron.core.tensor_parallel import layers


def accumulate(inputs: torch.Tensor, gradients: torch.Tensor, main: torch.Tensor) -> None:
    """Add gradients^T @ inputs to main, in fp32.

    Args:
        inputs: (tokens, columns) of a layer.
        gradients: (tokens, rows) of its output.
        main: (rows, columns) fp32, what is accumulated.
    """
    if main.is_cuda:
        torch.addmm(main, gradients.t(), inputs, out_dtype=torch.float32, out=main)
    else:
        main.addmm_(gradients.t().to(main.dtype), inputs.to(main.dtype))


def can_accumulate() -> bool:
    """Say whether gradients can be accumulated so: by Apex's kernel, or by torch's on this GPU, which is tried."""
    if layers._grad_accum_fusion_available:
        return True
    if not torch.cuda.is_available():
        return False
    try:
        ones = torch.ones(16, 16, dtype=torch.bfloat16, device="cuda")
        accumulate(ones, ones, torch.ones(16, 16, device="cuda"))
    except (RuntimeError, TypeError):  # of a torch that has no such product, or not for this GPU
        return False
    install()
    return True


def install() -> None:
    """Have megatron-core accumulate by torch."""
    layers.fused_weight_gradient_mlp_cuda = SimpleNamespace(wgrad_gemm_accum_fp32=accumulate)
    layers._grad_accum_fusion_available = True
