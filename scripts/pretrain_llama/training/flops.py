"""Floating point operations of a training, and the share of the hardware's peak that it reaches.

Model FLOPs a token are 6 N + 12 L H Q T (PaLM, arXiv 2204.02311, appendix B): N parameters that are multiplied with,
which leaves out the look-up of the embedding, L layers, H heads of Q channels, T tokens in a sequence. The 12 counts
the whole square of attention though half of it is masked, and what recomputation adds does not count. Imports no torch.
"""

from pretrain_llama.checkpoints.architecture import Architecture

# Dense bf16 FLOP/s with fp32 accumulation, by the start of torch.cuda.get_device_name, the longest that fits; from
# NVIDIA's data sheets of each GPU, where those with sparsity are twice as high.
PEAK_FLOPS = {
    "NVIDIA A10": 125e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,  # SXM
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L40S": 362e12,
}


def multiplied_parameters(architecture: Architecture) -> int:
    """Return the parameters that each token is multiplied with: all matrices but the embedding, tied or not."""
    a = architecture
    attention = a.hidden_size * (2 * a.heads + 2 * a.key_value_heads) * a.head_size
    return a.layers * (attention + 3 * a.hidden_size * a.feed_forward_size) + a.vocab_size * a.hidden_size


def flops_per_token(architecture: Architecture, sequence_length: int) -> float:
    """Return the model FLOPs of one token's forward and backward pass; sequence_length: tokens."""
    a = architecture
    return 6 * multiplied_parameters(a) + 12 * a.layers * a.heads * a.head_size * sequence_length


def peak_flops(device_name: str) -> float | None:
    """Return the peak of a device, or None where it is not known."""
    known = [name for name in PEAK_FLOPS if device_name.startswith(name)]
    return PEAK_FLOPS[max(known, key=len)] if known else None
