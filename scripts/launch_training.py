"""Start or resume the training of a run on this machine, with as many processes as its parallel sizes need.

python scripts/launch_training.py results/runs/demo
"""

import argparse
import sys
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.launch.local import run_processes
from pretrain_llama.provenance.begun import is_finished
from pretrain_llama.run.folder import open_to_train
from pretrain_llama.run.packages import check_programs
from pretrain_llama.run.sizes import process_count
from pretrain_llama.run.trainers import program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path, help="folder that write_run_folder.py wrote")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    folder = open_to_train(args.run_folder)
    if is_finished(folder):
        return
    check_programs(folder)
    trains = args.run_folder / "code" / "scripts" / program(folder.run)
    run_processes([sys.executable, str(trains), str(args.run_folder)], process_count(folder.run))


if __name__ == "__main__":
    run_program(main)
