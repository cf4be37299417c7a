"""Begin a program that trains: its arguments, and the variables that are set before anything asks CUDA."""

import argparse
import os
from pathlib import Path

from pretrain_llama.run.folder import RunFolder

CUDA_SETTINGS = {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}
# cuBLAS adds in one order with a workspace of its own; NCCL's choice of an algorithm changes the order of a sum.
DETERMINISTIC_SETTINGS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "NCCL_ALGO": "Ring"}


def parse_args(description: str | None) -> argparse.Namespace:
    """Return the arguments of a program that trains: run_folder and live_tensorboard, both paths.

    Args:
        description: of the program, for --help.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path, help="folder that write_run_folder.py wrote")
    parser.add_argument(
        "--live-tensorboard",
        type=Path,
        metavar="FOLDER",
        help="write TensorBoard's files to this folder, on a local disk, and copy them to "
        "RUN_FOLDER/output/tensorboard every 30 seconds and before each checkpoint; needed where the output is a "
        "mounted blob container",
    )
    return parser.parse_args()


def set_up_cuda(folder: RunFolder) -> None:
    """Set the variables of CUDA, cuBLAS and NCCL that nobody has set yet.

    CUDA reads them when it is first asked for anything, which importing megatron-core does. One queue: communication
    starts in the order in which it was asked for (megatron-core, tensor_parallel/layers.py), and Megatron-LM's parser
    refuses tensor parallelism without it.
    """
    settings = CUDA_SETTINGS | (DETERMINISTIC_SETTINGS if folder.operation["deterministic"] else {})
    for name, value in settings.items():
        os.environ.setdefault(name, value)
