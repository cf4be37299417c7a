"""Train a run, or resume it: one process, alone or among those that a launcher started.

    python scripts/train.py results/runs/demo
    srun python scripts/train.py results/runs/demo

Plain python under AzureML, Slurm and Open MPI; torchrun works, too. Killed, the same command resumes.
"""

import argparse
import os
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.run.folder import open_to_train
from pretrain_llama.run.ranks import from_environment
from pretrain_llama.run.start_checks import check_run
from pretrain_llama.training.laps import Laps

CUDA_SETTINGS = {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}
# cuBLAS adds in one order with a workspace of its own; NCCL's choice of an algorithm changes the order of a sum.
DETERMINISTIC_SETTINGS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "NCCL_ALGO": "Ring"}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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


def main() -> None:
    laps = Laps()
    args = parse_args()
    own, folder = from_environment(), open_to_train(args.run_folder)
    check_run(folder, own, Path(__file__).name)
    laps.end("checks")
    # CUDA reads them when it is first asked for anything, which importing megatron-core does. One queue: communication
    # starts in the order in which it was asked for (megatron-core, tensor_parallel/layers.py).
    settings = CUDA_SETTINGS | (DETERMINISTIC_SETTINGS if folder.operation["deterministic"] else {})
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    # torch takes seconds to import; --help does not wait for it, and what is refused is refused at once.
    from pretrain_llama.training.loop import train

    laps.end("imports")
    train(folder, own, args.live_tensorboard, laps)


if __name__ == "__main__":
    run_program(main)
