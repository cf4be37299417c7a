r"""Find documents of equal text in all shards of a tokenizer, by their keys; count them, or decide which are left out.

    python scripts/find_duplicates.py --plans results/plan/en_code_python.json results/plan/ar_interface_messages.json \
        --tokenized results/tokenized/demo-8k.0a1b2c3d --duplicates count --threads 2 \
        --output results/tokenized/demo-8k.0a1b2c3d/duplicates.json

With --duplicates drop, the first of equal documents stays, in the order of the plans that are given, and what was
decided before stays as it is: dropped.json, and SHARD_text_document.dropped beside each pair.
"""

import argparse
from pathlib import Path

from pretrain_llama import stores
from pretrain_llama.arguments import count
from pretrain_llama.duplicates.comparing import compare
from pretrain_llama.errors import run_program
from pretrain_llama.files import write_json
from pretrain_llama.shards.plan import shard_names
from pretrain_llama.tokenization.engines import load_reference


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--plans",
        nargs="+",
        required=True,
        help="recorded plans, a JSON file or blob a corpus, in the order that counts",
    )
    parser.add_argument(
        "--tokenized", required=True, help="folder of the tokenized pairs, keys and receipts, or az://…"
    )
    parser.add_argument(
        "--duplicates", choices=["count", "drop"], required=True, help="count copies, or decide that they are left out"
    )
    parser.add_argument("--memory-bytes", type=count, default=2_000_000_000, help="memory to take at most, in bytes")
    parser.add_argument("--threads", type=count, default=1, help="cores to search with")
    parser.add_argument(
        "--scratch", type=Path, help="folder for 25 bytes a document, removed; the default is the system's"
    )
    parser.add_argument(
        "--tokenizer-model", help="SentencePiece model or tokenizer.json, to show texts with many copies"
    )
    parser.add_argument("--bos-token", default="", help="the BOS token, for a tokenizer.json")
    parser.add_argument("--eos-token", default="", help="the EOS token, for a tokenizer.json")
    parser.add_argument("--output", type=Path, required=True, help="what was found, to write (JSON)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    decode = None
    if args.tokenizer_model:
        decode = load_reference(args.tokenizer_model, 1, args.bos_token, args.eos_token).decode
    shards = [shard for path in args.plans for shard in shard_names(stores.read_json(path))]
    found = compare(
        shards, args.tokenized, args.duplicates == "drop", args.memory_bytes, args.threads, args.scratch, decode
    )
    write_json(args.output, found.to_json())
    documents = sum(one.documents for one in found.shards.values())
    copies = sum(one.count for one in found.shards.values())
    print(f"{copies:,} of {documents:,} documents are copies of others, {found.duplicates}")
    if found.without_keys:
        print(f"{len(found.without_keys):,} shards have no keys, and were not compared: snakemake keys makes them")


if __name__ == "__main__":
    run_program(main)
