"""Join a shard's ranges of vendor files into one jsonl file.

    python scripts/merge_shard.py --plan results/plan/en_code_python.json --shard en_code_python_split_0000 \
        --output results/shards/en_code_python_split_0000.jsonl \
        --receipt results/shards/en_code_python_split_0000.receipt.json
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.shards import merge, plan


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True, help="recorded plan of the shard's corpus (JSON)")
    parser.add_argument("--shard", required=True, help="name of the shard")
    parser.add_argument("--output", type=Path, required=True, help="jsonl file to write")
    parser.add_argument("--receipt", type=Path, required=True, help="receipt to write (JSON): lines and bytes")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    recorded = plan.read(args.plan, args.shard)
    planned = plan.planned_shard(recorded, args.shard)
    receipt = merge.merge(args.shard, planned["ranges"], recorded["text_key"], args.output, planned["bytes"])
    plan.check_unchanged(recorded, planned, args.plan)
    receipt.write(args.receipt)


if __name__ == "__main__":
    run_program(main)
