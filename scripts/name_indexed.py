"""Give a tokenized shard its counted name: hard links, no bytes move.

    python scripts/name_indexed.py --prefix results/tokenized/demo-8k.0a1b2c3d/en_code_python_split_0000_text_document \
        --output-prefix results/indexed/demo-8k.0a1b2c3d/en_code_python_split_0000_text_document_dc=9_sc=9_tc=700
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import DataError, run_program
from pretrain_llama.files import link_or_copy
from pretrain_llama.names import parse_counted
from pretrain_llama.tokenization.indexed import IndexedReader


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", type=Path, required=True, help="tokenized pair, without .bin and .idx")
    parser.add_argument("--output-prefix", type=Path, required=True, help="the same with counts: …_dc=…_sc=…_tc=…")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    named, pair = parse_counted(args.output_prefix.name), IndexedReader(args.prefix)
    if (named.documents, named.sequences, named.tokens) != (pair.documents, pair.sequences, pair.tokens):
        raise DataError(
            f"the index counts {pair.documents} documents, {pair.sequences} sequences and {pair.tokens} tokens, "
            f"not those of {args.output_prefix.name}",
            where=args.prefix,
            action="delete the pair, its receipt and the signature, and run again",
        )
    for suffix in (".bin", ".idx"):
        link_or_copy(f"{args.prefix}{suffix}", f"{args.output_prefix}{suffix}")


if __name__ == "__main__":
    run_program(main)
