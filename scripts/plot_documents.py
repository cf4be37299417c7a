r"""Write a page that shows where every document went: vendor files, shards, tokens, fertility, rejections by reason.

    python scripts/plot_documents.py --plans results/plan/*.json --tokenized results/tokenized/demo-8k.0a1b2c3d \
        --output documents.html

Reads plans and receipts; no text and no tokens.
"""

import argparse
from pathlib import Path

from pretrain_llama import stores
from pretrain_llama.duplicates.record import Duplicates
from pretrain_llama.errors import run_program
from pretrain_llama.files import write_text


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", nargs="+", required=True, help="recorded plans, a JSON file or blob a corpus")
    parser.add_argument("--tokenized", required=True, help="folder of the shards' receipts, or az://…")
    parser.add_argument(
        "--duplicates", nargs="*", default=[], help="duplicates.json, which copies of documents there are"
    )
    parser.add_argument("--output", type=Path, required=True, help="page to write (HTML)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from pretrain_llama.report.documents import page, read_shards

    plans = [stores.read_json(path) for path in args.plans]
    duplicates = Duplicates.read(args.duplicates[0]) if args.duplicates else None
    write_text(args.output, page(read_shards(plans, args.tokenized), plans, duplicates))


if __name__ == "__main__":
    run_program(main)
