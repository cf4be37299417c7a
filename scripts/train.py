"""Train a run, or resume it: one process of the training, started by launch_training.py, torchrun or AzureML.

python scripts/train.py results/runs/demo
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path, help="folder that write_run_folder.py wrote")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # torch takes seconds to import; --help does not wait for it.
    from pretrain_llama.training.loop import train
    from pretrain_llama.training.run_folder import open_run_folder

    train(open_run_folder(args.run_folder))


if __name__ == "__main__":
    run_program(main)
