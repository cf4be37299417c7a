"""Write a page about a training: curves, validation by language and domain, checkpoint, provenance, samples.

python scripts/plot_training.py --run-folder results/runs/demo --output training.html

It may still go on.
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.files import write_text


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-folder", type=Path, required=True, help="folder of the run")
    parser.add_argument("--output", type=Path, required=True, help="page to write (HTML)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from pretrain_llama.report.training import page

    write_text(args.output, page(args.run_folder))


if __name__ == "__main__":
    run_program(main)
