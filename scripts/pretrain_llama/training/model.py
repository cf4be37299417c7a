"""Build Llama on megatron-core's local layers: attention through torch's SDPA, our RMSNorm, rotary on any device."""

import importlib.util
import math
import os
import shutil
import sysconfig
from pathlib import Path

import torch
from megatron.core import parallel_state
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.run.sizes import RECOMPUTE
from pretrain_llama.settings import ParallelSettings
from pretrain_llama.training.attention import Attention
from pretrain_llama.training.weight_gradients import can_accumulate

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def transformer_config(
    architecture: Architecture,
    precision: str,
    parallel: ParallelSettings | None = None,
    deterministic: bool = False,
) -> TransformerConfig:
    """Return megatron-core's configuration of a Llama on the parallel sizes of this process's groups.

    Dropout is set to 0 explicitly: TransformerConfig's default is 0.1. Fusions that need Transformer Engine are off;
    SwiGLU is compiled on a GPU where that is possible, and weight gradients are accumulated in fp32 there (see
    weight_gradients.py). Weights are initialized although a checkpoint is always loaded: without, megatron-core does
    not mark them as parts of a tensor parallel whole, and the norm of the gradient leaves them out (layers.py:978).

    Args:
        architecture: of the model.
        precision: fp32 or bf16.
        parallel: of run.yaml, for a training.
        deterministic: avoid what a GPU computes in an order that changes.
    """
    tensor = parallel_state.get_tensor_model_parallel_world_size()
    return TransformerConfig(
        num_layers=architecture.layers,
        hidden_size=architecture.hidden_size,
        ffn_hidden_size=architecture.feed_forward_size,
        num_attention_heads=architecture.heads,
        num_query_groups=architecture.key_value_heads,
        kv_channels=architecture.head_size,
        layernorm_epsilon=architecture.norm_epsilon,
        normalization="RMSNorm",
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        bf16=precision == "bf16",
        params_dtype=DTYPES[precision],
        pipeline_dtype=DTYPES[precision],
        tensor_model_parallel_size=tensor,
        pipeline_model_parallel_size=parallel_state.get_pipeline_model_parallel_world_size(),
        sequence_parallel=bool(parallel and parallel["sequence"]),
        use_cpu_initialization=not torch.cuda.is_available(),
        gradient_accumulation_fusion=precision == "bf16" and can_accumulate(),
        masked_softmax_fusion=False,
        bias_activation_fusion=torch.cuda.is_available() and can_compile(),
        bias_dropout_fusion=False,
        apply_rope_fusion=False,
        persist_layer_norm=False,
        deterministic_mode=deterministic,
        **RECOMPUTE[parallel["recompute"] if parallel else "none"],
    )


def can_compile() -> bool:
    """Say whether torch.compile can make a kernel: triton has a C compiler build a module for Python, with its headers.

    Debian's python3 has them in a package of their own, python3-dev.
    """
    has_compiler = shutil.which(os.environ.get("CC", "gcc")) is not None
    has_headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    return has_compiler and has_headers and importlib.util.find_spec("triton") is not None


def build_model(architecture: Architecture, config: TransformerConfig, sequence_length: int) -> GPTModel:
    """Return this process's part of the model; sequence_length: tokens.

    The logits of a tensor parallel process are those of its part of the padded vocabulary.
    """
    model = GPTModel(
        config,
        _layer_spec(config),
        vocab_size=architecture.padded_vocab_size(config.tensor_model_parallel_size),
        max_sequence_length=sequence_length,
        position_embedding_type="rope",
        rotary_base=architecture.rope_base,
        share_embeddings_and_output_weights=architecture.tied,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
        parallel_output=True,
    )
    model.rotary_pos_emb = Rotary(architecture)
    return model


def mask_padding_in_evaluation(model: GPTModel, vocab_size: int) -> None:
    """Give the rows that pad the vocabulary no probability while a model is in evaluation mode.

    An exported model has no such rows. In training they are classes that no token has, as for Megatron-LM.

    Args:
        model: this process's part.
        vocab_size: rows of the embedding before padding.
    """

    def mask(
        layer: torch.nn.Module, _: object, output: tuple[torch.Tensor, torch.Tensor | None]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        logits, bias = output  # (sequence, batch, this process's rows)
        if not layer.training:
            first = logits.shape[-1] * parallel_state.get_tensor_model_parallel_rank()
            logits[..., max(0, vocab_size - first) :] = -math.inf
        return logits, bias

    if model.post_process:
        model.output_layer.register_forward_hook(mask)


def _layer_spec(config: TransformerConfig) -> TransformerBlockSubmodules:
    layer = get_gpt_layer_local_spec(normalization="RMSNorm")
    layer.submodules.self_attention.submodules.core_attention = Attention
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = RMSNorm
    return TransformerBlockSubmodules([layer] * get_num_layers_to_build(config), layer_norm=RMSNorm)


class RMSNorm(torch.nn.RMSNorm):
    """torch's RMSNorm, with the mark by which Megatron reduces its gradient under sequence parallelism."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float, **_: object) -> None:
        device = "cpu" if config.use_cpu_initialization else torch.cuda.current_device()
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype, device=device)
        setattr(self.weight, "sequence_parallel", config.sequence_parallel)  # noqa: B010 (torch knows it not)


class Rotary(RotaryEmbedding):
    """Megatron's rotary embedding on this process's device, with all four numbers of Llama 3's scaling.

    megatron-core takes only the factor, and fixes the others to those of the real Llama 3 models.
    """

    def __init__(self, architecture: Architecture) -> None:
        self._scaling = architecture.rope_scaling
        super().__init__(
            architecture.head_size,
            rotary_percent=1.0,
            rotary_base=architecture.rope_base,
            rope_scaling=architecture.rope_scaling is not None,
            use_cpu_initialization=True,  # the same frequencies on every kind of device
            cp_group=parallel_state.get_context_parallel_group(),
        )
        if torch.cuda.is_available():
            self.inv_freq: torch.Tensor = self.inv_freq.cuda()  # no buffer, so it does not move with the model

    def _apply_scaling(self, freqs: torch.Tensor, **_: object) -> torch.Tensor:
        assert self._scaling  # megatron-core asks for it only where rope_scaling says so
        return super()._apply_scaling(
            freqs,
            factor=self._scaling.factor,
            low_freq_factor=self._scaling.low_freq_factor,
            high_freq_factor=self._scaling.high_freq_factor,
            original_max_position_embeddings=self._scaling.original_max_position_embeddings,
        )

    def get_emb(self, max_seq_len: int, offset: int = 0) -> torch.Tensor:
        """Return the angles of each position: (sequence, 1, 1, head_size)."""
        angles = self.get_freqs_non_repeated(max_seq_len, offset)
        return torch.cat((angles, angles), dim=-1)[:, None, None, :]
