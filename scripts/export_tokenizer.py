r"""Write the tokenizer files that transformers reads, and compare AutoTokenizer's ids with the training's.

    python scripts/export_tokenizer.py --tokenizer-model resources/demo/tokenizer.model \
        --prepend-bos true --append-eos true --output exported_tokenizer

A tokenizer.model becomes a tokenizer.json that encodes as it does: transformers reads a .model as if it were Llama 2's.
AutoTokenizer is asked for the ids of all texts that a tokenizer is tried on. Where one is another, the folder is
written all the same, and says so in its export.json; an export with it says so, too, and in its passport.
"""

import argparse
import sys
from pathlib import Path

from pretrain_llama.arguments import count, flag
from pretrain_llama.errors import run_program
from pretrain_llama.exports.agreement import texts_for
from pretrain_llama.exports.tokenizer_files import said, write_tokenizer_files
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.frame import frame_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer-model", required=True, help="SentencePiece model, or tokenizer.json")
    parser.add_argument("--prepend-bos", type=flag, default=True, help="true or false: BOS before each document")
    parser.add_argument("--append-eos", type=flag, default=True, help="true or false: EOS after each document")
    parser.add_argument("--bos-token", default="", help="the BOS token, for a tokenizer.json")
    parser.add_argument("--eos-token", default="", help="the EOS token, for a tokenizer.json")
    parser.add_argument("--threads", type=count, default=1, help="cores to encode with")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    reference = load_reference(args.tokenizer_model, args.threads, args.bos_token, args.eos_token)
    frame = frame_of(reference, args.prepend_bos, args.append_eos)
    record = write_tokenizer_files(reference, frame, texts_for(reference), args.output)
    for line in said(record):
        print(f"warning: {line}", file=sys.stderr)


if __name__ == "__main__":
    run_program(main)
