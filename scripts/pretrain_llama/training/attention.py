"""Causal attention through torch's scaled_dot_product_attention, within each sequence or each document of it."""

import torch
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig


class Attention(MegatronModule):
    """Causal attention: flash attention on a GPU, no mask in memory; with a mask, torch's memory-efficient kernel."""

    def __init__(self, config: TransformerConfig, softmax_scale: float | None = None, **_: object) -> None:
        super().__init__(config=config)
        self._scale = softmax_scale

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
