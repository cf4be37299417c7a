"""The naive conversion: load the model of either side, copy its weights into one of the other, and save that.

python benchmarks/convert_models.py to-megatron HUGGINGFACE MEGATRON
python benchmarks/convert_models.py to-huggingface HUGGINGFACE MEGATRON TARGET
"""

import sys
from pathlib import Path

import pretrain_llama.training  # noqa: F401  before megatron-core, whose warnings it filters

# isort: split
import torch
from megatron.core import dist_checkpointing
from megatron.core.models.gpt import GPTModel
from transformers import LlamaForCausalLM

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.checkpoints.architecture import Architecture, read_architecture
from pretrain_llama.training.model import build_model, transformer_config
from pretrain_llama.training.processes import process_groups
from pretrain_llama.training.state import load_weights


def pairs(theirs: LlamaForCausalLM, ours: GPTModel, a: Architecture) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Parameters of transformers, and the views of megatron-core's that hold the same."""
    found = [
        (theirs.model.embed_tokens.weight, ours.embedding.word_embeddings.weight[: a.vocab_size]),
        (theirs.model.norm.weight, ours.decoder.final_layernorm.weight),
        (theirs.lm_head.weight, ours.output_layer.weight[: a.vocab_size]),
    ]
    for layer, own in zip(theirs.model.layers, ours.decoder.layers, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        joined = own.self_attention.linear_qkv.weight.view(a.key_value_heads, -1, a.head_size, a.hidden_size)
        parts = joined.split([a.heads // a.key_value_heads, 1, 1], dim=1)  # of each group
        for projection, part in zip((attention.q_proj, attention.k_proj, attention.v_proj), parts, strict=True):
            found.append((projection.weight.view(part.shape), part))
        gate, up = own.mlp.linear_fc1.weight.chunk(2)
        found += [
            (layer.input_layernorm.weight, own.input_layernorm.weight),
            (attention.o_proj.weight, own.self_attention.linear_proj.weight),
            (layer.post_attention_layernorm.weight, own.pre_mlp_layernorm.weight),
            (mlp.gate_proj.weight, gate),
            (mlp.up_proj.weight, up),
            (mlp.down_proj.weight, own.mlp.linear_fc2.weight),
        ]
    return found


@torch.no_grad()
def main() -> None:
    direction, huggingface, megatron, *target = sys.argv[1:]
    architecture = read_architecture(huggingface)
    theirs = LlamaForCausalLM.from_pretrained(huggingface, dtype=torch.bfloat16)
    with process_groups(1, 1, "this benchmark"):
        ours = build_model(architecture, transformer_config(architecture, "bf16"), 128)
        if direction == "to-megatron":
            for their, own in pairs(theirs, ours, architecture):
                own.copy_(their)
            release = Path(megatron) / "release"
            release.mkdir(parents=True)
            dist_checkpointing.save({"model": ours.sharded_state_dict()}, str(release))
            torch_dist.write_tracker(megatron, "release")
        else:
            load_weights(ours, torch_dist.latest(megatron), architecture.vocab_size)
            for their, own in pairs(theirs, ours, architecture):
                their.copy_(own)
            theirs.save_pretrained(target[0])


if __name__ == "__main__":
    main()
