r"""Tokenize a jsonl shard to a Megatron .bin/.idx pair.

    python scripts/tokenize_shard.py --shard en_code_python_split_0000 \
        --jsonl results/shards/en_code_python_split_0000.jsonl \
        --merge-receipt results/shards/en_code_python_split_0000.receipt.json \
        --text-key text --tokenizer demo-8k.0a1b2c3d --tokenizer-model resources/demo/tokenizer.model \
        --prepend-bos true --append-eos true --threads 2 \
        --output-prefix results/tokenized/demo-8k.0a1b2c3d/en_code_python_split_0000_text_document

gigatoken encodes, after a gate has shown that it gives the ids of the reference: sentencepiece for a tokenizer.model,
tokenizers for a tokenizer.json.
"""

import argparse
import sys
from pathlib import Path

from pretrain_llama import __version__, references
from pretrain_llama.arguments import count
from pretrain_llama.errors import DataError, run_program
from pretrain_llama.receipts import MergeReceipt, TokenizeReceipt
from pretrain_llama.tokenization.engines import Reference, load_reference
from pretrain_llama.tokenization.heap import limit_heaps
from pretrain_llama.tokenization.parity import EnginesDiffer, GatedEngine
from pretrain_llama.tokenization.quarantine import RejectionLimits
from pretrain_llama.tokenization.tokenize import Engine, Frame, tokenize
from pretrain_llama.tokenization.tokenizer import frame_id


def flag(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard", required=True, help="name of the shard")
    parser.add_argument("--jsonl", type=Path, required=True, help="merged shard, one document a line")
    parser.add_argument("--merge-receipt", type=Path, required=True, help="receipt of its merge (JSON)")
    parser.add_argument("--text-key", required=True, help="key of the text; nested keys are joined by dots")
    parser.add_argument("--tokenizer", required=True, help="identity of the tokenizer, for the receipt")
    parser.add_argument("--tokenizer-model", required=True, help="SentencePiece model, or tokenizer.json")
    parser.add_argument("--prepend-bos", type=flag, default=True, help="true or false: BOS before each document")
    parser.add_argument("--append-eos", type=flag, default=True, help="true or false: EOS after each document")
    parser.add_argument("--bos-token", default="", help="the BOS token, for a tokenizer.json")
    parser.add_argument("--eos-token", default="", help="the EOS token, for a tokenizer.json")
    parser.add_argument(
        "--max-rejected-fraction", type=float, default=0.001, help="fraction of lines, 0 to 1, that may be rejected"
    )
    parser.add_argument(
        "--max-rejected-lines", type=int, default=3, help="number of lines that may be rejected whatever the fraction"
    )
    parser.add_argument("--max-line-bytes", type=count, default=1 << 24, help="bytes of the longest line that is read")
    parser.add_argument(
        "--on-engine-difference",
        choices=["fallback", "fail"],
        default="fallback",
        help="where gigatoken's ids are not the reference's: encode with the reference, or fail",
    )
    parser.add_argument(
        "--held-out-fraction", type=float, default=0.0, help="fraction of documents, 0 to 1, held out for validation"
    )
    parser.add_argument("--threads", type=count, default=1, help="cores to encode with")
    parser.add_argument(
        "--output-prefix",
        type=Path,
        required=True,
        help="writes PREFIX.bin, .idx, .receipt.json and .rejected.jsonl, and SHARD_held_out_document.bin and .idx "
        "beside them",
    )
    return parser.parse_args()


def frame_of(reference: Reference, args: argparse.Namespace) -> Frame:
    """Return what is put around each document."""
    head = [frame_id(reference, args.tokenizer_model, "bos", args.bos_token)] if args.prepend_bos else []
    tail = [frame_id(reference, args.tokenizer_model, "eos", args.eos_token)] if args.append_eos else []
    return Frame(head, tail, reference.vocab_size)


def main() -> None:
    args = parse_args()
    limit_heaps(args.threads)
    reference = load_reference(args.tokenizer_model, args.threads)
    frame = frame_of(reference, args)
    merged = MergeReceipt.read(args.merge_receipt)
    references.resolve(args.jsonl)  # where merging ran on this machine, inside a store

    def encode_with(engine: Engine) -> TokenizeReceipt:
        receipt = TokenizeReceipt(
            args.shard,
            __version__,
            args.tokenizer,
            args.prepend_bos,
            args.append_eos,
            frame.vocab_size,
            frame.dtype.name,
        )
        tokenize(
            engine,
            frame,
            receipt,
            merged,
            jsonl=args.jsonl,
            text_key=args.text_key,
            max_line_bytes=args.max_line_bytes,
            limits=RejectionLimits(args.max_rejected_fraction, args.max_rejected_lines),
            held_out_fraction=args.held_out_fraction,
            prefix=args.output_prefix,
        )
        return receipt

    try:
        gated = GatedEngine(reference, args.tokenizer_model, args.threads)
        receipt = encode_with(gated)
        receipt.compared = gated.compared
    except EnginesDiffer as difference:
        if args.on_engine_difference == "fail":
            raise DataError(
                str(difference), where=args.jsonl, action="set on_engine_difference: fallback in config.yaml"
            ) from difference
        print(f"warning: {difference}; {reference.name} encodes, which is slower", file=sys.stderr)
        receipt = encode_with(reference)
        receipt.warning = str(difference)
    receipt.write(f"{args.output_prefix}.receipt.json")


if __name__ == "__main__":
    run_program(main)
