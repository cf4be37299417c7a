r"""Make the keys of a tokenized shard's documents, for a pair of a version that wrote none; nothing is tokenized again.

    python scripts/key_documents.py --receipt results/tokenized/demo-8k.0a1b2c3d/S_text_document.receipt.json \
        --jsonl results/shards/S.jsonl --plan results/plan/en_code_python.json --text-key text \
        --tokenizer-model resources/demo/tokenizer.model --held-out-fraction 0.05 \
        --output-prefix results/tokenized/demo-8k.0a1b2c3d/S_text_document

S is the shard. Where its merged text was deleted, it is merged from the vendor's files beside the output, and removed.
"""

import argparse
import tempfile
from pathlib import Path

from pretrain_llama import stores
from pretrain_llama.arguments import count
from pretrain_llama.errors import run_program
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.shards import merge, plan
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.keying import write_keys
from pretrain_llama.tokenization.withdrawn import withdrawn_keys


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--receipt", required=True, help="receipt of the shard's tokenizing (JSON), a path or az://…")
    parser.add_argument("--jsonl", required=True, help="merged shard, a path or az://…")
    parser.add_argument("--plan", required=True, help="recorded plan of the shard's corpus (JSON), a path or az://…")
    parser.add_argument("--text-key", required=True, help="key of the text; nested keys are joined by dots")
    parser.add_argument("--tokenizer-model", required=True, help="SentencePiece model, or tokenizer.json")
    parser.add_argument("--bos-token", default="", help="the BOS token, for a tokenizer.json")
    parser.add_argument("--eos-token", default="", help="the EOS token, for a tokenizer.json")
    parser.add_argument("--max-line-bytes", type=count, default=1 << 24, help="bytes of the longest line that is read")
    parser.add_argument(
        "--held-out-fraction", type=float, default=0.0, help="fraction of documents, 0 to 1, held out for validation"
    )
    parser.add_argument(
        "--withdrawals", default="", help="withdrawals.jsonl, a path or az://…; what it names is left out"
    )
    parser.add_argument(
        "--output-prefix",
        type=Path,
        required=True,
        help="writes PREFIX.keys, and SHARD_held_out_document.keys beside it",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    receipt = TokenizeReceipt.read(args.receipt)
    reference = load_reference(args.tokenizer_model, 1, args.bos_token, args.eos_token)
    args.output_prefix.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output_prefix.parent) as folder:
        jsonl = args.jsonl
        if not stores.exists(jsonl):
            jsonl = f"{folder}/{receipt.shard}.jsonl"
            merge.merge(plan.read(args.plan, receipt.shard), receipt.shard, jsonl)
        with stores.open_binary(jsonl) as text:
            write_keys(
                text,
                receipt,
                reference,
                args.text_key,
                args.max_line_bytes,
                args.held_out_fraction,
                args.output_prefix,
                withdrawn_keys(args.withdrawals, receipt.tokenizer),
            )


if __name__ == "__main__":
    run_program(main)
