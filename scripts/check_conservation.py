r"""Follow every document from the vendor files to the signature; fail if the counts do not add up.

    python scripts/check_conservation.py --plans results/plan/en_code_python.json --shards results/shards \
        --tokenized results/tokenized/demo-8k.0a1b2c3d \
        --signature results/tokenized/demo-8k.0a1b2c3d/data_signature.json \
        --output results/tokenized/demo-8k.0a1b2c3d/conservation.json

Reads plans, receipts, quarantines and the heads of .idx files; no text and no tokens.
"""

import argparse
from pathlib import Path

from pretrain_llama.duplicates.record import Duplicates
from pretrain_llama.errors import run_program
from pretrain_llama.files import write_json
from pretrain_llama.report.conservation import conserve
from pretrain_llama.vocabulary.promises import Kept


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", nargs="+", required=True, help="recorded plans, a JSON file or blob a corpus")
    parser.add_argument("--shards", required=True, help="folder of the merge receipts, or az://…")
    parser.add_argument("--tokenized", required=True, help="folder of the tokenized pairs and receipts, or az://…")
    parser.add_argument("--signature", required=True, help="data_signature.json")
    parser.add_argument(
        "--duplicates", nargs="*", default=[], help="duplicates.json, where copies of documents are left out"
    )
    parser.add_argument("--output", type=Path, required=True, help="sums by corpus and in all, to write (JSON)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    left_out = {shard: copies for path in args.duplicates for shard, copies in Duplicates.read(path).dropped.items()}
    sums = conserve(args.plans, args.shards, args.tokenized, args.signature, left_out)
    write_json(args.output, sums)
    for corpus, row in [*sums["corpora"].items(), ("total", sums["total"])]:
        print(
            f"{corpus}: {row['lines']:,} lines = {row['documents']:,} documents + "
            f"{row['held_out_documents']:,} held out + {row['blank']:,} blank + "
            f"{sum(row['rejected'].values()):,} rejected"
            + (f" + {row['withdrawn']:,} withdrawn" if row["withdrawn"] else "")
        )
        if row["duplicates"]:
            kept = row["documents"] - row["duplicates"]
            print(f"{corpus}: {row['documents']:,} documents = {kept:,} kept + {row['duplicates']:,} copies left out")
    for language, found in sums["unchanged"].items():
        print(f"unchanged language {language}: {Kept(**found).told}")


if __name__ == "__main__":
    run_program(main)
