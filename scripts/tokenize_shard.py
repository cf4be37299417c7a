r"""Tokenize a jsonl shard to a Megatron .bin/.idx pair.

    python scripts/tokenize_shard.py --shard en_code_python_split_0000 \
        --jsonl results/shards/en_code_python_split_0000.jsonl \
        --merge-receipt results/shards/en_code_python_split_0000.receipt.json \
        --text-key text --tokenizer demo-8k.0a1b2c3d --tokenizer-model resources/demo/tokenizer.model \
        --prepend-bos true --append-eos true --threads 2 \
        --output-prefix results/tokenized/demo-8k.0a1b2c3d/en_code_python_split_0000_text_document

gigatoken encodes the documents that the tokenizer's certificate trusts it with. The reference encodes the others, or
all where there is no certificate: sentencepiece for a tokenizer.model, tokenizers for a tokenizer.json.
"""

import argparse
import sys
from pathlib import Path

from pretrain_llama import __version__, stores
from pretrain_llama.arguments import count, flag
from pretrain_llama.errors import ConfigError, OurError, run_program
from pretrain_llama.names import HELD_OUT_SUFFIX
from pretrain_llama.receipts import MergeReceipt, TokenizeReceipt
from pretrain_llama.stores import references
from pretrain_llama.tokenization.certificate import FILE_NAME, find_certificate
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.frame import frame_of
from pretrain_llama.tokenization.heap import limit_heaps
from pretrain_llama.tokenization.keys import KEYS_SUFFIX
from pretrain_llama.tokenization.parity import CertifiedEngine, EnginesDiffer
from pretrain_llama.tokenization.quarantine import RejectionLimits
from pretrain_llama.tokenization.tokenize import Engine, tokenize
from pretrain_llama.tokenization.withdrawn import withdrawn_keys
from pretrain_llama.vocabulary.promises import Kept, first_new_id, read_promise

REPORT = (
    "this is a fault of pretrain-llama: report it, with this message and the certificate. What finished shards of the "
    "tokenizer hold, audit_indexed.py --jsonl compares"
)
FALL_BACK = "set on_engine_difference: fallback in config.yaml, and the reference encodes all documents"


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
    parser.add_argument(
        "--max-rejected-bytes", type=count, default=1 << 26, help="bytes of rejected lines that are kept at most"
    )
    parser.add_argument("--max-line-bytes", type=count, default=1 << 24, help="bytes of the longest line that is read")
    parser.add_argument(
        "--certificate",
        type=Path,
        help=f"of the tokenizer, by certify_tokenizer.py; the default is {FILE_NAME} beside the model, if it is there",
    )
    parser.add_argument(
        "--on-engine-difference",
        choices=["fallback", "fail"],
        default="fallback",
        help="where gigatoken is not certified, or gives other ids in spite of its certificate: encode all documents "
        "with the reference, or fail",
    )
    parser.add_argument(
        "--held-out-fraction", type=float, default=0.0, help="fraction of documents, 0 to 1, held out for validation"
    )
    parser.add_argument(
        "--unchanged",
        type=read_promise,
        nargs="*",
        default=[],
        help="TOKENIZER:FIRST_NEW_ID:LANGUAGE,… of expansions: documents of the languages must use no new piece; the "
        "receipt counts those that do",
    )
    parser.add_argument(
        "--withdrawals", default="", help="withdrawals.jsonl, a path or az://…; what it names is left out"
    )
    parser.add_argument("--threads", type=count, default=1, help="cores to encode with")
    parser.add_argument(
        "--output-prefix",
        type=Path,
        required=True,
        help="writes PREFIX.bin, .idx, .keys, .receipt.json and .rejected.jsonl, and SHARD_held_out_document.bin, .idx "
        "and .keys beside them",
    )
    parser.add_argument(
        "--store",
        default="",
        help="az://{container}/{path} of the folder of all tokenizers' pairs: the keys are sent there, too",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    limit_heaps(args.threads)
    reference = load_reference(args.tokenizer_model, args.threads, args.bos_token, args.eos_token)
    frame = frame_of(reference, args.prepend_bos, args.append_eos)
    merged = MergeReceipt.read(args.merge_receipt)
    references.resolve(args.jsonl)  # where merging ran on this machine, inside a store

    withdrawn = withdrawn_keys(args.withdrawals, args.tokenizer)

    def encode_with(engine: Engine) -> TokenizeReceipt:
        receipt = TokenizeReceipt(
            args.shard,
            __version__,
            args.tokenizer,
            args.prepend_bos,
            args.append_eos,
            frame.vocab_size,
            frame.dtype.name,
            frame=frame.recorded,
        )
        tokenize(
            engine,
            frame,
            receipt,
            merged,
            jsonl=args.jsonl,
            text_key=args.text_key,
            max_line_bytes=args.max_line_bytes,
            limits=RejectionLimits(args.max_rejected_fraction, args.max_rejected_lines, args.max_rejected_bytes),
            held_out_fraction=args.held_out_fraction,
            prefix=args.output_prefix,
            first_new_id=first_new_id(args.unchanged, args.tokenizer, args.shard),
            withdrawn=withdrawn,
        )
        return receipt

    path = args.certificate or Path(args.tokenizer_model).with_name(FILE_NAME)
    certificate, alone = find_certificate(reference, path)
    if certificate and not alone:
        engine = CertifiedEngine(reference, certificate, args.threads)
        try:
            receipt = encode_with(engine)
            receipt.compared, receipt.by_reference = engine.compared, engine.by_reference
        except EnginesDiffer as difference:
            alone = f"{difference}, in spite of the certificate {path}"
            if args.on_engine_difference == "fail":
                raise OurError(alone, where=args.jsonl, action=REPORT) from difference
            print(REPORT, file=sys.stderr)
    if alone:
        if args.on_engine_difference == "fail":
            raise ConfigError(alone, where=args.tokenizer_model, action=FALL_BACK)
        print(f"warning: {alone}; {reference.name} encodes all documents, which is slower", file=sys.stderr)
        receipt = encode_with(reference)
        receipt.warning, receipt.by_reference = alone, receipt.documents + receipt.held_out_documents
    receipt.certificate = certificate.digest if certificate else ""
    if receipt.with_new_pieces:
        print(f"warning: of a language that was to stay unchanged, {Kept.of(receipt).told}", file=sys.stderr)
    if args.store:
        for name in (args.output_prefix.name, f"{args.shard}{HELD_OUT_SUFFIX}"):
            keys = args.output_prefix.with_name(f"{name}{KEYS_SUFFIX}")
            stores.write_small(f"{args.store}/{args.tokenizer}/{keys.name}", keys.read_bytes())
    receipt.write(f"{args.output_prefix}.receipt.json")


if __name__ == "__main__":
    run_program(main)
