"""Compare two mixtures: what changes by language, domain and shard, in tokens wanted and epochs.

    python scripts/compare_mixtures.py results/runs/before/mixture results/runs/after/mixture

The largest change comes first. Tokens are those that each mixture's own training draws; "out" stands for epochs where
nothing is sampled. Shards are known by their names without counts, so mixtures of two tokenizers can be compared.
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.mixture.comparison import as_text
from pretrain_llama.mixture.mixture import Mixture


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="probabilities.json, or its folder")
    parser.add_argument("after", type=Path, help="the same of the other mixture")
    parser.add_argument("--shards", type=int, default=20, help="shards to list, those that change most (default 20)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print(as_text(Mixture.read(args.before), Mixture.read(args.after), args.shards), end="")


if __name__ == "__main__":
    run_program(main)
