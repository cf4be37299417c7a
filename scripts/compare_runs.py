"""Compare runs: losses over tokens, validation by language and domain, throughput, and what differs between them.

    python scripts/compare_runs.py results/runs/first results/runs/second --page results/compared.html

Losses are compared after as many consumed tokens as all runs have reached, since runs may have different lengths and
may still go on. The page has the same tables, and plots.
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.files import write_text


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, two or more")
    parser.add_argument("--page", type=Path, help="page to write (HTML)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from pretrain_llama.report.comparison import as_text, page
    from pretrain_llama.report.runs import read_runs

    runs = read_runs(args.runs)
    print(as_text(runs), end="")
    if args.page:
        write_text(args.page, page(runs))


if __name__ == "__main__":
    run_program(main)
