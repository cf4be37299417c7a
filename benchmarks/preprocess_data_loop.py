r"""Tokenize jsonl as Megatron-LM's tools/preprocess_data.py does: the same loop, for where no checkout is at hand.

    python benchmarks/preprocess_data_loop.py --input text.jsonl --tokenizer-model tokenizer.model --workers 2 \
        --output-prefix out

A pool of processes parses and encodes a line at a time, in chunks of 32; the parent adds document after document to
megatron-core's builder. Source: `Partition.process_json_file` and `Encoder.encode` of that file.
"""

import argparse
import json
import multiprocessing

import numpy as np
import sentencepiece
import torch
from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

model: sentencepiece.SentencePieceProcessor


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="jsonl file with a key text")
    parser.add_argument("--tokenizer-model", required=True, help="SentencePiece model")
    parser.add_argument("--workers", type=int, required=True, help="processes that encode")
    parser.add_argument("--output-prefix", required=True, help="writes PREFIX.bin and PREFIX.idx")
    return parser.parse_args()


def load(path: str) -> None:
    global model
    model = sentencepiece.SentencePieceProcessor(model_file=path)


def encode(line: str) -> list[int]:
    return [model.bos_id(), *model.encode_as_ids(json.loads(line)["text"]), model.eos_id()]


def main() -> None:
    args = parse_args()
    builder = IndexedDatasetBuilder(f"{args.output_prefix}.bin", dtype=np.uint16)
    with (
        open(args.input, encoding="utf-8") as lines,
        multiprocessing.Pool(args.workers, initializer=load, initargs=(args.tokenizer_model,)) as pool,
    ):
        for ids in pool.imap(encode, lines, 32):
            builder.add_document(torch.IntTensor(ids), [len(ids)])
    builder.finalize(f"{args.output_prefix}.idx")


if __name__ == "__main__":
    main()
