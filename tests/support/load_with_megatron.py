"""Print what a torch_dist checkpoint holds as the megatron-core of this Python loads it: hashes of tensors, arguments.

python tests/support/load_with_megatron.py results/checkpoints/demo-llama_tp=1_pp=1/release
"""

import hashlib
import json
import sys

import torch
from megatron.core import dist_checkpointing


def main(checkpoint: str) -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    loaded = dist_checkpointing.load_plain_tensors(checkpoint)  # and what is no tensor, too
    hashes = {name: _hash(value) for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    arguments = {key: value for key, value in vars(loaded["args"]).items() if isinstance(value, int | float | str)}
    print(json.dumps({"tensors": hashes, "args": arguments, "iteration": loaded["iteration"]}))


def _hash(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1])
