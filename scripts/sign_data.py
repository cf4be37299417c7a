r"""Write the data signature: the counted names of all tokenized shards.

    python scripts/sign_data.py --plans results/plan/en_code_python.json results/plan/ar_interface_messages.json \
        --tokenized results/tokenized/demo-8k.0a1b2c3d --output results/tokenized/demo-8k.0a1b2c3d/data_signature.json
"""

import argparse
from pathlib import Path

from pretrain_llama import stores
from pretrain_llama.duplicates.record import Duplicates
from pretrain_llama.errors import run_program
from pretrain_llama.files import write_json
from pretrain_llama.mixture.signature import sign
from pretrain_llama.names import PREFIX_SUFFIX
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.shards.plan import shard_names


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", nargs="+", required=True, help="recorded plans, a JSON file or blob a corpus")
    parser.add_argument("--tokenized", type=Path, required=True, help="folder of the shards' tokenization receipts")
    parser.add_argument(
        "--duplicates", nargs="*", default=[], help="duplicates.json, where copies of documents are left out"
    )
    parser.add_argument("--output", type=Path, required=True, help="signature to write (JSON)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    shards = [shard for path in args.plans for shard in shard_names(stores.read_json(path))]
    receipts = [TokenizeReceipt.read(args.tokenized / f"{shard}{PREFIX_SUFFIX}.receipt.json") for shard in shards]
    left_out = {shard: counts for path in args.duplicates for shard, counts in Duplicates.read(path).left_out.items()}
    write_json(args.output, sign(receipts, str(args.output), left_out))


if __name__ == "__main__":
    run_program(main)
