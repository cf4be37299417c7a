"""Train a SentencePiece tokenizer as Llama-2's is made: BPE, byte fallback, digits apart, spaces kept.

python demo/train_tokenizer.py --vendor resources/demo/vendor --output resources/demo/tokenizer.model
"""

import argparse
import gzip
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import sentencepiece

from pretrain_llama.files import replacing

BYTES_A_CORPUS = 1_500_000


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vendor", type=Path, required=True, help="folder of jsonl files, a folder a corpus below it")
    parser.add_argument("--vocab-size", type=int, default=8000, help="number of pieces")
    parser.add_argument("--output", type=Path, required=True, help="model to write")
    return parser.parse_args()


def sentences(vendor: Path) -> Iterator[str]:
    """Lines of text, up to the same number of bytes from every corpus, so that no language is crowded out."""
    for corpus in sorted(folder for folder in vendor.iterdir() if folder.is_dir()):
        left = BYTES_A_CORPUS
        for path in sorted(corpus.iterdir()):
            with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as documents:
                for document in map(json.loads, documents):
                    text = document.get("text") or document["content"]
                    left -= len(text.encode())
                    if left < 0:
                        break
                    yield from filter(None, text.split("\n"))


def main() -> None:
    args = parse_args()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences(args.vendor),
        model_writer=model,
        model_type="bpe",
        vocab_size=args.vocab_size,
        byte_fallback=True,
        character_coverage=0.9995,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        max_sentence_length=16384,
        num_threads=os.cpu_count(),
        minloglevel=1,
    )
    with replacing(args.output) as file:
        file.write(model.getvalue())


if __name__ == "__main__":
    main()
