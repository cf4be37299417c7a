"""The fast engine behind its gate: the reference's ids, or the reference itself; and text stays text."""

import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from pretrain_llama.errors import OperatorError
from pretrain_llama.files import read_json
from pretrain_llama.tokenization.engines import Gigatoken, load_reference
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.tokenization.parity import SAMPLE_BYTES, EnginesDiffer, GatedEngine, sample
from pretrain_llama.tokenization.texts import Texts
from pretrain_llama.tokenization.tokenize import Frame
from project import PREFIX, ROOT, Result, deliver, jsonl, merge_shard, tokenize_shard

# Llama 3's pre-tokenizer, as its tokenizer.json has it.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
LINES = "\n".join(topics.values()).split("\n")[:2000]


def sentencepiece_model(path: Path, rule: str | None = None, **options: object) -> Path:
    """Train a SentencePiece model that normalizes nothing, or by a rule of its own: code points, tab, code points."""
    model = io.BytesIO()
    bpe = {"model_type": "bpe", "vocab_size": 400, "byte_fallback": True, "normalization_rule_name": "identity"}
    if rule:
        path.with_suffix(".tsv").write_text(rule)
        bpe |= {"normalization_rule_name": "", "normalization_rule_tsv": str(path.with_suffix(".tsv"))}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, minloglevel=2, **(bpe | options)
    )
    path.write_bytes(model.getvalue())
    return path


def byte_level_tokenizer() -> tokenizers.Tokenizer:
    """Train a tokenizer made as Llama 3's is: byte-level BPE, here without control tokens."""
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(tokenizers.Regex(LLAMA_3), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json made as Llama 3's is, with control tokens outside the vocabulary."""
    tokenizer = byte_level_tokenizer()
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    path = tmp_path_factory.mktemp("json") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def tokenize(folder: Path, model: Path, texts: list[str], *args: object) -> Result:
    assert merge_shard(folder, deliver(folder / "a.jsonl", jsonl(texts))).returncode == 0
    return tokenize_shard(folder, model, "--threads", 2, *args)


def documents(folder: Path) -> list[list[int]]:
    pair = IndexedReader(folder / PREFIX)
    return [ids.tolist() for ids in np.split(pair.tokens_array, np.cumsum(pair.lengths)[:-1])]


def test_ids_equal_sentencepieces_over_the_whole_corpus_of_the_demo() -> None:
    demo = ROOT / "resources" / "demo"
    assert (demo / "tokenizer.model").exists(), "make demo-inputs"
    model = str(demo / "tokenizer.model")
    fast, reference = Gigatoken(model, 2), load_reference(model, 2)
    count = 0
    for path in sorted(demo.glob("vendor/*/*.jsonl")):
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        texts = [(row.get("text") or row["content"]).encode() for row in rows]
        batches = [Texts.of(texts[first : first + 50]) for first in range(0, len(texts), 50)]
        with ThreadPoolExecutor(4) as threads:  # as a shard's blocks are, several at once
            encoded = list(threads.map(fast.encode, batches))
        for batch, (ids, lengths) in zip(batches, encoded, strict=True):
            expected, expected_lengths = reference.encode(batch)
            assert np.array_equal(lengths, expected_lengths), path
            assert np.array_equal(ids, expected), path
            count += len(ids)
    assert count > 3_000_000


@pytest.mark.parametrize("engine", [Gigatoken, load_reference])
def test_control_strings_in_a_text_are_text(engine: Callable, tokenizer_model: Path, tokenizer_json: Path) -> None:
    for model, controls in [
        (tokenizer_model, ["<s>", "</s>"]),
        (tokenizer_json, ["<|begin_of_text|>", "<|end_of_text|>"]),
    ]:
        reference = load_reference(model)
        assert reference.control_strings == controls
        for text in [f"it says {controls[1]} and goes on", *controls]:
            ids, _ = engine(str(model), 2).encode(Texts.of([text.encode()]))
            assert not {reference.token_id(control, "") for control in controls} & set(ids.tolist())
            assert reference.decode(ids.tolist()) == text


def test_a_tokenizer_json_names_its_bos_and_eos(tmp_path: Path, tokenizer_json: Path) -> None:
    texts = ["A tale.", "ends itself <|end_of_text|> not", "حكاية"]
    unnamed = tokenize(tmp_path, tokenizer_json, texts)
    assert unnamed.returncode == 2
    assert "the tokenizer has no BOS token" in unnamed.stderr
    result = tokenize(
        tmp_path, tokenizer_json, texts, "--bos-token", "<|begin_of_text|>", "--eos-token", "<|end_of_text|>"
    )
    assert result.returncode == 0, result.stderr
    reference = tokenizers.Tokenizer.from_file(str(tokenizer_json))
    reference.encode_special_tokens = True
    begin, end = (reference.token_to_id(token) for token in ("<|begin_of_text|>", "<|end_of_text|>"))
    assert documents(tmp_path) == [[begin, *reference.encode(text).ids, end] for text in texts]
    receipt = read_json(tmp_path / f"{PREFIX}.receipt.json")
    assert receipt["engine"].startswith("gigatoken")
    assert (receipt["compared"], receipt["warning"], receipt["vocab_size"]) == (3, None, 602)


# Models whose ids gigatoken gets wrong, or which it does not know; the last passes the probes, and parts on the shard.
DIFFERING = {
    "spaces removed": ({"remove_extra_whitespaces": True}, "differ from token 0 of b'\\ttabs"),
    "unigram": ({"model_type": "unigram", "hard_vocab_limit": False}, "gigatoken cannot load the model"),
    "symbol of the user": (
        {"remove_extra_whitespaces": False, "user_defined_symbols": ["of ships"]},
        "differ from token 1 of b'aof shipsb of shipsc dof ships of ships",
    ),
    "two characters normalized together": (
        {"remove_extra_whitespaces": False, "rule": "20AC\t45\n20AC 20AC\t45 45 45\n"},
        "of b'A tale of ships",
    ),
}


@pytest.mark.parametrize("case", DIFFERING)
@pytest.mark.parametrize("policy", ["fallback", "fail"])
def test_where_engines_differ_the_reference_encodes_or_the_shard_fails(tmp_path: Path, case: str, policy: str) -> None:
    options, difference = DIFFERING[case]
    model = sentencepiece_model(tmp_path / "differing.model", **options)
    texts = [*(f"A tale {number}." for number in range(40)), "A tale of ships\tand  storms, for €€."]
    result = tokenize(tmp_path, model, texts, "--on-engine-difference", policy)
    assert difference in result.stderr, result.stderr
    if policy == "fail":
        assert result.returncode == 2
        assert "set on_engine_difference: fallback in config.yaml" in result.stderr
        assert not (tmp_path / f"{PREFIX}.bin").exists()
        return
    assert result.returncode == 0, result.stderr
    expected = sentencepiece.SentencePieceProcessor(model_file=str(model))
    assert documents(tmp_path) == [[1, *expected.encode(text), 2] for text in texts]
    receipt = read_json(tmp_path / f"{PREFIX}.receipt.json")
    assert receipt["engine"].startswith("sentencepiece")
    assert difference in receipt["warning"]


@pytest.fixture
def with_added_tokens(tmp_path: Path) -> Callable[..., str]:
    """Make a tokenizer.json as Llama 3's is, but with these added tokens."""

    def make(*tokens: tokenizers.AddedToken) -> str:
        tokenizer = byte_level_tokenizer()
        tokenizer.add_tokens(list(tokens))
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        return str(tmp_path / "tokenizer.json")

    return make


def test_an_added_token_closes_the_gate_only_where_engines_differ(with_added_tokens: Callable[..., str]) -> None:
    model = with_added_tokens(tokenizers.AddedToken("word", special=False))
    assert load_reference(model).user_strings == ["word"]
    GatedEngine(load_reference(model), model, 1)
    model = with_added_tokens(tokenizers.AddedToken("word", special=False, single_word=True))
    with pytest.raises(EnginesDiffer, match="of b'awordb wordc dword word e  word'"):
        GatedEngine(load_reference(model), model, 1)


def test_the_gate_is_closed_where_a_control_string_is_not_read_as_text(with_added_tokens: Callable[..., str]) -> None:
    names = [tokenizers.AddedToken(name, special="<" in name, normalized=False) for name in ("<tool>", "tool")]
    model = with_added_tokens(names[1])
    GatedEngine(load_reference(model), model, 1)
    model = with_added_tokens(*names)  # gigatoken finds the "tool" within "<tool>"
    with pytest.raises(EnginesDiffer, match="of b'a document that names <tool> goes on'"):
        GatedEngine(load_reference(model), model, 1)


def test_samples_are_spread_and_small() -> None:
    texts = Texts.of(b"x" * (1 + number % 2 * 999) for number in range(32_000))
    assert sample(texts) == list(range(0, 32_000, 2_000)), "spread"
    assert len(sample(Texts.of([b"x" * 1000] * 1000))) == SAMPLE_BYTES // 1000, "small"
    assert sample(Texts.of([b"x" * SAMPLE_BYTES * 2, b"x" * SAMPLE_BYTES * 3])) == [0], "at least one"
    assert sample(Texts.of([])) == []


def test_the_gate_counts_what_it_compared(tokenizer_model: Path) -> None:
    gated = GatedEngine(load_reference(tokenizer_model), str(tokenizer_model), 1)
    gated.encode(Texts.of([b"one", b"two"]))
    assert gated.compared == 2
    gated._reference = load_reference(ROOT / "resources" / "demo" / "tokenizer.model")
    with pytest.raises(EnginesDiffer, match="differ from token 0 of b'three'"):
        gated.encode(Texts.of([b"three"]))


def test_an_id_outside_the_vocabulary_never_wraps() -> None:
    frame = Frame([1], [2], 400)
    with pytest.raises(OperatorError, match="id 400 in a vocabulary of 400"):
        frame.around((np.array([400], np.uint32), np.array([1])))
    framed, lengths = frame.around((np.array([399, 7], np.uint32), np.array([1, 0, 1])))
    assert framed.tolist() == [1, 399, 2, 1, 2, 1, 7, 2]
    assert (framed.dtype, lengths.tolist()) == (np.uint16, [3, 2, 3])


def test_threads_are_limited_for_the_rust_library(tokenizer_json: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", "7")
    load_reference(tokenizer_json, 3)
    assert os.environ["RAYON_NUM_THREADS"] == "3"
