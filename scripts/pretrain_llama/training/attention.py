"""Causal attention through torch's scaled_dot_product_attention, within each sequence or each document of it."""

import torch
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.nn.attention import SDPBackend, sdpa_kernel

HOPPER = 9  # compute capability; 10 and 12 are Blackwell
_NAMES = {
    SDPBackend.CUDNN_ATTENTION: "cudnn",
    SDPBackend.FLASH_ATTENTION: "flash",
    SDPBackend.EFFICIENT_ATTENTION: "efficient",
    SDPBackend.MATH: "math",
}


def kernels(capability: int | None, has_mask: bool, deterministic: bool = False) -> list[SDPBackend]:
    """Return the kernels of attention to try, the fastest first; the first that takes the tensors computes.

    torch's own order changed with its versions: 2.13 asks cuDNN first on Hopper, earlier ones flash attention, which is
    1.7 to 2.3 times slower there; on an A100, cuDNN is the slower one (transformers, pull request 48163).

    Args:
        capability: first number of the GPU's compute capability; None on a CPU.
        has_mask: flash attention takes none on a GPU.
        deterministic: cuDNN's and the memory-efficient backward passes add in whatever order threads arrive.
    """
    cudnn = [SDPBackend.CUDNN_ATTENTION] if capability is not None and capability >= HOPPER else []
    flash = [] if has_mask and capability is not None else [SDPBackend.FLASH_ATTENTION]
    if deterministic:
        return [*flash, SDPBackend.MATH]
    return [*cudnn, *flash, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def described(has_mask: bool, deterministic: bool) -> str:
    """Return the kernels that are tried on this machine, by name, for the record of a start."""
    return ", ".join(_NAMES[kernel] for kernel in kernels(_capability(), has_mask, deterministic))


def _capability() -> int | None:
    return torch.cuda.get_device_capability()[0] if torch.cuda.is_available() else None


class Attention(MegatronModule):
    """Causal attention by torch's kernels; without a mask in memory where whole sequences are attended to.

    Attributes:
        kernels: to try, without and with a mask.
    """

    def __init__(self, config: TransformerConfig, softmax_scale: float | None = None, **_: object) -> None:
        super().__init__(config=config)
        self._scale = softmax_scale
        self.kernels = {
            has_mask: kernels(_capability(), has_mask, config.deterministic_mode) for has_mask in (False, True)
        }

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **_: object,
    ) -> torch.Tensor:
        """Attend to what came before.

        Args:
            query: (sequence, batch, heads, head_size).
            key, value: (sequence, batch, key_value_heads, head_size).
            attention_mask: as `document_mask` returns it; None for the whole sequence.

        Returns:
            (sequence, batch, heads * head_size).
        """
        query, key, value = (part.permute(1, 2, 0, 3) for part in (query, key, value))
        groups = query.shape[1] // key.shape[1]
        if attention_mask is not None and groups > 1:  # that kernel takes no groups of heads
            key, value = (part.repeat_interleave(groups, 1) for part in (key, value))
        with sdpa_kernel(self.kernels[attention_mask is not None], set_priority=True):
            attended = torch.nn.functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=attention_mask,
                is_causal=attention_mask is None,
                scale=self._scale,
                enable_gqa=query.shape[1] != key.shape[1],
            )  # (batch, heads, sequence, head_size)
        return attended.permute(2, 0, 1, 3).flatten(2)


def document_mask(documents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a mask to add to attention scores, so that a token sees only earlier tokens of its own document.

    It is as Llama 3 was trained (arXiv 2407.21783, 3.2), and megatron-core's reset_attention_mask. One for all layers.

    Args:
        documents: (batch, sequence) number of each token's document.
        dtype: of the activations.

    Returns:
        (batch, 1, sequence, sequence): 0 where a token (third) sees another (fourth), -inf elsewhere.
    """
    seen = (documents[:, None, :, None] == documents[:, None, None, :]).tril()
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
