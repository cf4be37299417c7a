"""Tokenizers that tests train: of every kind that engines may treat apart."""

import io
from pathlib import Path
from pydoc_data.topics import topics

import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

# Llama 3's pre-tokenizer, as its tokenizer.json has it, and Qwen 2's, which parts every digit.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
LINES = "\n".join(topics.values()).split("\n")[:2000]


def sentencepiece_model(path: Path, rule: str | None = None, **options: object) -> Path:
    """Train a SentencePiece model that normalizes nothing, or by a rule of its own: code points, tab, code points."""
    model = io.BytesIO()
    bpe = {"model_type": "bpe", "vocab_size": 400, "byte_fallback": True, "normalization_rule_name": "identity"}
    bpe |= {"remove_extra_whitespaces": False}
    if rule:
        path.with_suffix(".tsv").write_text(rule)
        bpe |= {"normalization_rule_name": "", "normalization_rule_tsv": str(path.with_suffix(".tsv"))}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, minloglevel=2, **(bpe | options)
    )
    path.write_bytes(model.getvalue())
    return path


def byte_level_tokenizer(pattern: str = LLAMA_3, composes: bool = False) -> tokenizers.Tokenizer:
    """Train a tokenizer made as Llama 3's is: byte-level BPE, here without control tokens; one may compose first."""
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
    if composes:
        tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer
