r"""Certify a tokenizer: find out which texts the fast engine encodes as the reference does.

    python scripts/certify_tokenizer.py --tokenizer demo-8k.0a1b2c3d \
        --tokenizer-model resources/demo/tokenizer.model --threads 2 --output resources/demo/parity.json

gigatoken is held against the reference (sentencepiece for a tokenizer.model, tokenizers for a tokenizer.json) on all
characters, on all strings that the tokenizer knows, and on documents that are made up. Where they differ, the smallest
differing strings say which characters gigatoken is not to be trusted with. tokenize_shard.py gives documents that hold
one of these to the reference, and all others to gigatoken.
"""

import argparse
from pathlib import Path

from pretrain_llama.arguments import count
from pretrain_llama.errors import run_program
from pretrain_llama.tokenization.certificate import FILE_NAME, made_without
from pretrain_llama.tokenization.certifying import certify
from pretrain_llama.tokenization.engines import load_reference

FUZZED_DOCUMENTS = 50_000


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="identity of the tokenizer")
    parser.add_argument("--tokenizer-model", required=True, help="SentencePiece model, or tokenizer.json")
    parser.add_argument("--bos-token", default="", help="the BOS token, for a tokenizer.json")
    parser.add_argument("--eos-token", default="", help="the EOS token, for a tokenizer.json")
    parser.add_argument(
        "--fuzzed-documents", type=count, default=FUZZED_DOCUMENTS, help="number of documents that are made up"
    )
    parser.add_argument("--seed", type=int, default=0, help="of these documents")
    parser.add_argument("--tokenized", help="where its shards are, to note which were made without a certificate")
    parser.add_argument("--threads", type=count, default=1, help="cores of the reference")
    parser.add_argument("--output", type=Path, required=True, help=f"certificate to write, such as {FILE_NAME}")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    reference = load_reference(args.tokenizer_model, args.threads, args.bos_token, args.eos_token)
    certificate = certify(args.tokenizer, reference, args.threads, args.fuzzed_documents, args.seed)
    certificate.made_without = made_without(args.tokenized) if args.tokenized else []
    certificate.write(args.output)
    print(certificate.summary)


if __name__ == "__main__":
    run_program(main)
