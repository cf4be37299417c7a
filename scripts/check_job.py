"""Check a run folder's job.yaml offline, for what Azure Machine Learning would refuse or let fail on paid nodes.

    python scripts/check_job.py results/runs/demo

What azure-ai-ml says of it, where that is installed (make azureml), and what it does not look at: references to inputs
and outputs, torchrun, processes against the parallel sizes, paths, shared memory, TensorBoard, secrets. Exit code 2: it
has problems. submit_training.py does the same before it submits.
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.launch.azureml_checks import check_job
from pretrain_llama.run.folder import open_run_folder


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path, help="folder that write_run_folder.py wrote")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    for unknown in check_job(args.run_folder, open_run_folder(args.run_folder).run):
        print(f"not checked: {unknown}")
    print(f"{args.run_folder / 'job.yaml'}: no problem found")


if __name__ == "__main__":
    run_program(main)
