"""Time gigatoken's bare encode_batch on texts that are already in memory; print the seconds.

python benchmarks/encode_batch_alone.py --input text.jsonl --tokenizer-model tokenizer.model --threads 2
"""

import argparse
import json
import os
import time

import gigatoken


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="jsonl file with a key text")
    parser.add_argument("--tokenizer-model", required=True, help="SentencePiece model")
    parser.add_argument("--threads", type=int, required=True, help="cores to encode with")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    with open(args.input, "rb") as lines:
        texts = [json.loads(line)["text"].encode() for line in lines]
    tokenizer = gigatoken.Tokenizer.from_sentencepiece(args.tokenizer_model)
    tokenizer.encode_batch([b"loaded"])
    start = time.perf_counter()
    tokenizer.encode_batch(texts, parallel=args.threads > 1)
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
