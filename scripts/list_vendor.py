"""Record a listing of the vendor's files, for previews and estimates without the store and without an account.

    python scripts/list_vendor.py --output listing.tsv
    snakemake --dry-run --config listing=listing.tsv
    make plan-estimate LISTING=listing.tsv

Every source of the table of corpora is listed once.
"""

import argparse
from pathlib import Path

from pretrain_llama import configuration, stores
from pretrain_llama.errors import run_program
from pretrain_llama.shards import listing


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=Path("config/corpora.tsv"), help="table of corpora")
    parser.add_argument("--output", type=Path, required=True, help="listing to write (TSV)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    files = {
        file.path: file
        for corpus in configuration.load_corpora(args.corpora)
        for file in stores.list_files(corpus.source, corpus.where)
    }
    listing.write(args.output, files.values())
    print(f"{len(files):,} files, {sum(file.size_bytes for file in files.values()):,} bytes")


if __name__ == "__main__":
    run_program(main)
