r"""Give a tokenized shard its counted name, by hard links, or by a copy inside the store; no bytes move here.

    python scripts/name_indexed.py --prefix results/tokenized/demo-8k.0a1b2c3d/en_code_python_split_0000_text_document \
        --output-prefix results/indexed/demo-8k.0a1b2c3d/en_code_python_split_0000_text_document_dc=9_sc=9_tc=700
"""

import argparse
import os
from pathlib import Path

from pretrain_llama import stores
from pretrain_llama.errors import DataError, run_program
from pretrain_llama.files import link_or_copy
from pretrain_llama.names import parse_counted
from pretrain_llama.stores import references
from pretrain_llama.tokenization.indexed import read_counts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", required=True, help="tokenized pair, without .bin and .idx; a path or az://…")
    parser.add_argument("--output-prefix", type=Path, required=True, help="the same with counts: …_dc=…_sc=…_tc=…")
    parser.add_argument(
        "--store",
        default="",
        help="az://{container}/{path} of the output prefix: the pair is copied there, inside the store, and the "
        "outputs only refer to it",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    counts = read_counts(args.prefix)
    if counts != parse_counted(args.output_prefix.name).counts:
        raise DataError(
            f"the pair holds {counts}, not those of {args.output_prefix.name}",
            where=args.prefix,
            action="delete the pair, its receipt and the signature, and run again",
        )
    for suffix in (".bin", ".idx"):
        if args.store:
            etag = stores.copy(f"{args.prefix}{suffix}", f"{args.store}{suffix}")
            references.write(f"{args.output_prefix}{suffix}", f"{args.store}{suffix}", etag)
        else:
            link_or_copy(f"{args.prefix}{suffix}", f"{args.output_prefix}{suffix}")
            os.utime(f"{args.output_prefix}{suffix}")  # of a link, the pair's, which the receipt is newer than


if __name__ == "__main__":
    run_program(main)
