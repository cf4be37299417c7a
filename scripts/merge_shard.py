r"""Merge a shard's byte ranges of vendor files into one jsonl file.

    python scripts/merge_shard.py --plan results/plan/en_code_python.json --shard en_code_python_split_0000 \
        --output results/shards/en_code_python_split_0000.jsonl \
        --receipt results/shards/en_code_python_split_0000.receipt.json
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.shards import plan
from pretrain_llama.shards.merge import merge
from pretrain_llama.shards.merge_in_store import can_be_joined, merge_in_store
from pretrain_llama.stores import references


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", required=True, help="recorded plan of the shard's corpus (JSON), a path or az://…")
    parser.add_argument("--shard", required=True, help="name of the shard")
    parser.add_argument("--output", type=Path, required=True, help="jsonl file to write")
    parser.add_argument(
        "--store",
        default="",
        help="az://{container}/{path} of the output: plain jsonl blobs are joined there, inside the store, and the "
        "output only refers to it",
    )
    parser.add_argument("--receipt", type=Path, required=True, help="receipt to write (JSON): lines and bytes")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    recorded = plan.read(args.plan, args.shard)
    if args.store and can_be_joined(recorded, args.shard):
        receipt = merge_in_store(recorded, args.shard, args.store)
        references.write(args.output, args.store, receipt.etag)
    else:
        receipt = merge(recorded, args.shard, args.output)
    receipt.write(args.receipt)


if __name__ == "__main__":
    run_program(main)
