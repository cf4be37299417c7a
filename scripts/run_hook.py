"""Export a checkpoint of a training, and run the command of its run's `hooks` on it; the trainer starts this.

    python scripts/run_hook.py results/runs/demo --iteration 100

Writes results/runs/demo/output/hooks/iter_0000100/; ends with the exit code of the export or of the command.
"""

import argparse
import os
import sys
from pathlib import Path

from pretrain_llama.configuration import load_run
from pretrain_llama.errors import ConfigError, run_program
from pretrain_llama.run.hooks import run_hook

NICENESS = 10  # the training goes first


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path, help="folder of a run that is trained")
    parser.add_argument("--iteration", type=int, required=True, help="of one of its checkpoints")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    hooks = load_run(args.run_folder)["operation"]["hooks"]
    if hooks is None:
        raise ConfigError(
            "the run has no hooks",
            where=f"{args.run_folder / 'run.yaml'}: operation",
            action="set hooks: {every_iterations: 1000, command: …}",
        )
    os.nice(NICENESS)
    sys.exit(run_hook(args.run_folder, args.iteration, hooks))


if __name__ == "__main__":
    run_program(main)
