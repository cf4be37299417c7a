"""Write a page about a mixture: tokens there and wanted by language and domain, epochs, what is left out and why.

python scripts/plot_mixture.py --mixture results/runs/demo/mixture --title demo --output mixture.html
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.files import write_text
from pretrain_llama.mixture.mixture import Mixture


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixture", type=Path, required=True, help="probabilities.json, or its folder")
    parser.add_argument("--title", required=True, help="what the mixture is of, e.g. the run")
    parser.add_argument("--output", type=Path, required=True, help="page to write (HTML)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    mixture = Mixture.read(args.mixture)
    from pretrain_llama.report.mixture import page

    write_text(args.output, page(mixture, args.title))


if __name__ == "__main__":
    run_program(main)
