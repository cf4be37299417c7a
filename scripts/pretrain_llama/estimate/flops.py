"""Count a training's floating point operations, and the share of the hardware's peak that it reaches.

Model FLOPs a token are 6 N + 12 L H Q T (PaLM, arXiv 2204.02311, appendix B): N parameters that are multiplied with,
which leaves out the look-up of the embedding, L layers, H heads of Q channels, T tokens in a sequence. The 12 counts
the whole square of attention though half of it is masked, and what recomputation adds does not count.
"""

import re

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.estimate.parameters import ATTENTION, FEED_FORWARD, count

# Dense FLOP/s by precision and the start of torch.cuda.get_device_name, the longest that fits; from NVIDIA's data
# sheets of each GPU, where those with sparsity are twice as high. bf16 has fp32 accumulation; fp32 is not TF32, which
# torch does not use for matrices unless it is told to.
PEAK_FLOPS = {
    "NVIDIA A10": {"bf16": 125e12, "fp32": 31.2e12},
    "NVIDIA A100": {"bf16": 312e12, "fp32": 19.5e12},
    "NVIDIA H100 80GB HBM3": {"bf16": 989e12, "fp32": 67e12},  # SXM
    "NVIDIA H100 NVL": {"bf16": 835e12, "fp32": 60e12},
    "NVIDIA H100 PCIe": {"bf16": 756e12, "fp32": 51e12},
    "NVIDIA H200": {"bf16": 989e12, "fp32": 67e12},  # SXM
    "NVIDIA H200 NVL": {"bf16": 835e12, "fp32": 60e12},  # taken to be an H100 NVL's
    "NVIDIA L40S": {"bf16": 362e12, "fp32": 91.6e12},
}


def multiplied_parameters(architecture: Architecture) -> int:
    """Return the parameters that each token is multiplied with: all matrices except the embedding."""
    parts = count(architecture, architecture.vocab_size)
    return parts[ATTENTION] + parts[FEED_FORWARD] + parts["embedding"]


def flops_per_token(architecture: Architecture, sequence_length: int) -> float:
    """Return the model FLOPs of one token's forward and backward pass; sequence_length: tokens."""
    a = architecture
    return 6 * multiplied_parameters(a) + 12 * a.layers * a.heads * a.head_size * sequence_length


def peak_flops(device_name: str, precision: str) -> float | None:
    """Return the peak of a device, or None where it is not known; an A10G is no A10."""
    known = [name for name in PEAK_FLOPS if re.match(rf"{name}(?!\w)", device_name)]
    return PEAK_FLOPS[max(known, key=len)][precision] if known else None
