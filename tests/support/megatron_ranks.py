"""What megatron-core makes of converted checkpoints; run as two processes, for all tests at once.

python tests/support/megatron_ranks.py FOLDER: below it, {kind}/source and {kind}/megatron are read; written are

    older.json        by kind, how far transformers' logits are apart between its source and {kind}/older
    logits.json       by kind, how megatron-core's logits compare, on every layout and in every precision
    states.json       what megatron-core finds where layers of Transformer Engine keep a state
    {kind}/older/     of some kinds, what Megatron-LM writes in its older format, torch
    {kind}/newer/     what it writes in its newer format, torch_dist, during a training
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import pretrain_llama.training  # noqa: F401  before megatron-core, whose warnings it filters

# isort: split
import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from megatron.core.transformer.utils import make_sharded_object_for_checkpoint

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.checkpoints.architecture import Architecture, read_architecture
from pretrain_llama.checkpoints.opening import open_tensors
from pretrain_llama.run.ranks import from_environment
from pretrain_llama.training import logits
from pretrain_llama.training.model import build_model, transformer_config
from pretrain_llama.training.processes import process_groups
from pretrain_llama.training.state import load_weights

SAVED = {"llama31": (2, 1), "llama32": (1, 2)}  # kinds, and the tensor and pipeline parallel sizes they are saved on


def largest_difference(folder: Path) -> float:
    """How far transformers' logits of a kind's source and of its checkpoint in the older format are apart."""
    architecture = read_architecture(folder / "source")
    tokens = logits.probe_tokens(architecture)
    first, second = (
        logits.transformers_logits(open_tensors(place, architecture), folder / "source", "fp32", tokens)
        for place in (folder / "source", folder / "older")
    )
    return (first - second).abs().max().item()


def args_of(architecture: Architecture) -> argparse.Namespace:
    """The arguments that Megatron-LM keeps in a checkpoint, some of them."""
    return argparse.Namespace(
        num_layers=architecture.layers,
        hidden_size=architecture.hidden_size,
        ffn_hidden_size=architecture.feed_forward_size,
        num_attention_heads=architecture.heads,
        group_query_attention=True,
        num_query_groups=architecture.key_value_heads,
        kv_channels=architecture.head_size,
        norm_epsilon=architecture.norm_epsilon,
        rotary_base=int(architecture.rope_base),
        swiglu=True,
        add_bias_linear=False,
        params_dtype=torch.float32,
    )


def save(folder: Path, tensor: int, pipeline: int) -> None:
    """Load a converted checkpoint on a layout, and save it again in both formats of Megatron-LM."""
    architecture = read_architecture(folder / "megatron")
    parallel_state.destroy_model_parallel()
    parallel_state.initialize_model_parallel(tensor, pipeline)
    model = build_model(architecture, transformer_config(architecture, "fp32"), 128)
    load_weights(model, torch_dist.latest(folder / "megatron"), architecture.vocab_size)
    place = f"mp_rank_{parallel_state.get_tensor_model_parallel_rank():02d}"
    if pipeline > 1:
        place += f"_{parallel_state.get_pipeline_model_parallel_rank():03d}"
    older = folder / "older" / "iter_0000005" / place
    common = {"args": args_of(architecture), "checkpoint_version": 3.0, "iteration": 5}
    random_states = [{"np_rng_state": np.random.get_state(), "rng_tracker_states": {}}]
    optimizer = {"state": {0: {"exp_avg": torch.ones(7)}}, "param_groups": [{"lr": 1e-4}]}
    content = common | {"model": model.state_dict(), "optimizer": optimizer, "rng_state": random_states}
    older.mkdir(parents=True)
    torch.save(content, older / "model_optim_rng.pt")
    dist.barrier()
    newer = folder / "newer" / "release"
    if dist.get_rank() == 0:
        (older.parents[1] / torch_dist.TRACKER).write_text("5")
        newer.mkdir(parents=True)
        (newer.parent / torch_dist.TRACKER).write_text("release\n")
    dist.barrier()
    metadata = {"non_homogeneous_layers": True} if pipeline > 1 else None
    moments = ShardedTensor.from_rank_offsets("optimizer.state.exp_avg.x", torch.ones(4), (0, dist.get_rank(), 2))
    dist_checkpointing.save(common | {"model": model.sharded_state_dict(metadata=metadata), "m": moments}, str(newer))


def states_of_transformer_engine(folder: Path) -> dict:
    """Load the states that a model of Transformer Engine's layers asks for, named as megatron-core names them."""
    parallel_state.destroy_model_parallel()
    parallel_state.initialize_model_parallel(1, 1)
    layers = read_architecture(folder / "megatron").layers
    names = ("self_attention.linear_qkv", "self_attention.linear_proj", "mlp.linear_fc1", "mlp.linear_fc2")
    asked = {
        f"{name} of {layer}": make_sharded_object_for_checkpoint(
            "no state yet", f"decoder.layers.{name}._extra_state", [(0, layer, layers)]
        )
        for layer in range(layers)
        for name in (*names, "self_attention.core_attention")
    }
    asked["norm"] = make_sharded_object_for_checkpoint("no state yet", "decoder.final_layernorm._extra_state")
    loaded = dist_checkpointing.load({"states": asked}, str(torch_dist.latest(folder / "megatron")))
    return loaded["states"]


def main() -> None:
    folder = Path(sys.argv[1])
    kinds = sorted(path for path in folder.iterdir() if path.is_dir())
    with process_groups(1, 1, "the tests", from_environment()):
        found = {kind.name: logits.compare_layouts(kind / "source", kind / "megatron", 1e-5) for kind in kinds}
        for kind, (tensor, pipeline) in SAVED.items():
            save(folder / kind, tensor, pipeline)
        states = states_of_transformer_engine(folder / "llama31")
        dist.barrier()
        if dist.get_rank() == 0:
            (folder / "states.json").write_text(json.dumps(states))
            (folder / "logits.json").write_text(json.dumps(found))
            older = {kind: largest_difference(folder / kind) for kind in SAVED}
            (folder / "older.json").write_text(json.dumps(older))


if __name__ == "__main__":
    main()
