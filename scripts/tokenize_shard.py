"""Tokenize a jsonl shard to a Megatron .bin/.idx pair.

    python scripts/tokenize_shard.py --shard en_code_python_split_0000 \
        --jsonl results/shards/en_code_python_split_0000.jsonl \
        --merge-receipt results/shards/en_code_python_split_0000.receipt.json \
        --text-key text --tokenizer demo-8k.0a1b2c3d --tokenizer-model resources/demo/tokenizer.model \
        --prepend-bos true --append-eos true --threads 2 \
        --output-prefix results/tokenized/demo-8k/en_code_python_split_0000_text_document
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.receipts import MergeReceipt, TokenizeReceipt
from pretrain_llama.tokenization.tokenize import tokenize
from pretrain_llama.tokenization.tokenizer import SentencePieceEngine


def flag(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard", required=True, help="name of the shard")
    parser.add_argument("--jsonl", type=Path, required=True, help="merged shard, one document a line")
    parser.add_argument("--merge-receipt", type=Path, required=True, help="receipt of its merge (JSON)")
    parser.add_argument("--text-key", required=True, help="key of the text; nested keys are joined by dots")
    parser.add_argument("--tokenizer", required=True, help="identity of the tokenizer, for the receipt")
    parser.add_argument("--tokenizer-model", required=True, help="SentencePiece model")
    parser.add_argument("--prepend-bos", type=flag, default=True, help="true or false: BOS before each document")
    parser.add_argument("--append-eos", type=flag, default=True, help="true or false: EOS after each document")
    parser.add_argument(
        "--max-rejected-fraction",
        type=float,
        default=0.001,
        help="fraction of lines, 0 to 1, above which the shard fails",
    )
    parser.add_argument("--threads", type=int, default=1, help="cores to encode with")
    parser.add_argument(
        "--output-prefix", type=Path, required=True, help="writes PREFIX.bin, .idx, .receipt.json and .rejected.jsonl"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    engine = SentencePieceEngine(args.tokenizer_model, args.prepend_bos, args.append_eos, args.threads)
    receipt = TokenizeReceipt(
        args.shard, args.tokenizer, args.prepend_bos, args.append_eos, engine.vocab_size, engine.dtype.name
    )
    tokenize(
        engine,
        receipt,
        jsonl=args.jsonl,
        text_key=args.text_key,
        prefix=args.output_prefix,
        rejected_path=Path(f"{args.output_prefix}.rejected.jsonl"),
        max_rejected_fraction=args.max_rejected_fraction,
    )
    receipt.check_handover(MergeReceipt.read(args.merge_receipt), args.jsonl)
    receipt.write(f"{args.output_prefix}.receipt.json")


if __name__ == "__main__":
    run_program(main)
