r"""Add embedding and output rows for the ids that expand_vocabulary.py added; write a Hugging Face folder of both.

    python scripts/expand_checkpoint.py --source resources/demo/llama --pieces expanded/pieces.tsv \
        --tokenizer-model expanded/tokenizer.model --output expanded/llama

The rows of old ids stay as they are, bit for bit. No model is built: weights pass through in blocks of a few MB.
"""

import argparse
from pathlib import Path

from pretrain_llama.arguments import add_accepted
from pretrain_llama.errors import run_program
from pretrain_llama.vocabulary.checkpoint import expand_checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with config.json and weights")
    parser.add_argument("--pieces", type=Path, required=True, help="table that expand_vocabulary.py wrote (TSV)")
    parser.add_argument("--tokenizer-model", type=Path, required=True, help="the enlarged tokenizer")
    parser.add_argument(
        "--new-rows",
        choices=["mean_of_pieces", "mean", "zero"],
        default="mean_of_pieces",
        help="rows of a new piece: the mean of those of its old pieces, the mean of all, or 0 in the output layer",
    )
    add_accepted(parser)
    parser.add_argument("--output", type=Path, required=True, help="Hugging Face folder to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    expand_checkpoint(args.source, args.pieces, args.tokenizer_model, args.new_rows, args.output, args.accept_argument)


if __name__ == "__main__":
    run_program(main)
