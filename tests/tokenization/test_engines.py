"""The engines: the fast one where it is trusted, the reference elsewhere; and text stays text."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from pretrain_llama.errors import OperatorError
from pretrain_llama.files import read_json
from pretrain_llama.tokenization.certificate import Certificate
from pretrain_llama.tokenization.engine_comparison import unequal
from pretrain_llama.tokenization.engines import Gigatoken, load_reference, read_pieces
from pretrain_llama.tokenization.frame import Frame, FrameToken
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.tokenization.parity import WINDOW_BYTES, WINDOWS, CertifiedEngine, EnginesDiffer, sample
from pretrain_llama.tokenization.texts import Texts
from pretrain_llama.tokenization.untrusted import Pattern
from project import PREFIX, ROOT, Result, deliver, jsonl, merge_shard, tokenize_shard
from trained import byte_level_tokenizer


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
    reference = load_reference(model, 2)
    fast = Gigatoken(reference, 2)
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


def test_control_strings_in_a_text_are_text(tokenizer_model: Path, tokenizer_json: Path) -> None:
    for model, controls in [
        (tokenizer_model, ["<s>", "</s>"]),
        (tokenizer_json, ["<|begin_of_text|>", "<|end_of_text|>"]),
    ]:
        reference = load_reference(model)
        assert reference.control_strings == controls
        of_controls = {number for number, piece in read_pieces(model).items() if piece in controls}
        for engine, text in product([reference, Gigatoken(reference, 2)], [f"says {controls[1]} and", *controls]):
            ids, _ = engine.encode(Texts.of([text.encode()]))
            assert not of_controls & set(ids.tolist())
            assert reference.decode(ids.tolist()) == text


def test_a_tokenizer_json_names_its_bos_and_eos(tmp_path: Path, tokenizer_json: Path) -> None:
    texts = ["A tale.", "ends itself <|end_of_text|> not", "حكاية"]
    unnamed = tokenize(tmp_path, tokenizer_json, texts)
    assert unnamed.returncode == 2
    assert "the tokenizer has no BOS token" in unnamed.stderr
    names = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    made = Certificate.of(load_reference(tokenizer_json, **names), "toy.01234567")
    made.write(tmp_path / "parity.json")
    options = [f"--{role.replace('_', '-')}={name}" for role, name in names.items()]
    result = tokenize(tmp_path, tokenizer_json, texts, *options, "--certificate", tmp_path / "parity.json")
    assert result.returncode == 0, result.stderr
    reference = tokenizers.Tokenizer.from_file(str(tokenizer_json))
    reference.encode_special_tokens = True
    begin, end = (reference.token_to_id(token) for token in ("<|begin_of_text|>", "<|end_of_text|>"))
    assert documents(tmp_path) == [[begin, *reference.encode(text).ids, end] for text in texts]
    receipt = read_json(tmp_path / f"{PREFIX}.receipt.json")
    assert receipt["engine"].startswith("gigatoken")
    assert (receipt["compared"], receipt["warning"], receipt["vocab_size"]) == (3, None, 602)


def test_samples_are_of_all_lengths_and_scripts_and_small() -> None:
    texts = Texts.of(b"x" * (1 + number) for number in range(2_000))
    windows, numbers = sample(texts)
    assert len(numbers) == WINDOWS and (min(numbers), max(numbers)) == (0, 1999)
    assert max(windows.lengths) == WINDOW_BYTES and all(set(window) == {ord("x")} for window in windows)
    scripts = ["plain " * 500, "한국어" * 40, "русский" * 40, "हिन्दी" * 400, "🦙" * 40, "中文" * 400]
    texts = Texts.of(text.encode() for text in scripts)
    windows, numbers = sample(texts)
    assert set(numbers) == set(range(6)) and all(window.decode() for window in windows)
    assert all(window.decode() in scripts[number] for window, number in zip(windows, numbers, strict=True))
    assert sample(Texts.of([]))[1] == []
    assert list(sample(Texts.of([b"a"]))[0]) == [b"a"] * WINDOWS
    assert "é" * 128 in {window.decode() for window in sample(Texts.of(["é".encode() * 9_999]))[0]}


@pytest.fixture(scope="module")
def certificate(tokenizer_model: Path) -> Certificate:
    """That trusts the fast engine with all texts without "storms"."""
    made = Certificate.of(load_reference(tokenizer_model), "toy.01234567")
    made.untrusted = [Pattern.of_string("a test", "storms").to_json()]
    return made


def test_untrusted_documents_go_to_the_reference_in_their_place(
    tokenizer_model: Path, certificate: Certificate
) -> None:
    reference = load_reference(tokenizer_model)
    texts = Texts.of([b"ships", b"storms and ships", b"x" * 9, b"storms", b"the sea"])
    engine = CertifiedEngine(reference, certificate, 1)
    assert not unequal(engine.encode(texts), reference.encode(texts)).any()
    assert (engine.by_reference, engine.compared) == (2, 3)
    engine.encode(Texts.of([b"storms"] * 3))
    assert (engine.by_reference, engine.compared) == (5, 3)
    engine._reference = load_reference(ROOT / "resources" / "demo" / "tokenizer.model")
    with pytest.raises(EnginesDiffer, match="differ on 'three', in the document that begins 'three'"):
        engine.encode(Texts.of([b"three"]))


def test_an_id_outside_the_vocabulary_never_wraps() -> None:
    frame = Frame(FrameToken(1, "<s>"), FrameToken(2, "</s>"), 400)
    with pytest.raises(OperatorError, match="id 400 in a vocabulary of 400"):
        frame.around((np.array([400], np.uint32), np.array([1])))
    framed, lengths = frame.around((np.array([399, 7], np.uint32), np.array([1, 0, 1])))
    assert framed.tolist() == [1, 399, 2, 1, 2, 1, 7, 2]
    assert (framed.dtype, lengths.tolist()) == (np.uint16, [3, 2, 3])


def test_threads_are_limited_for_the_rust_library(tokenizer_json: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", "7")
    load_reference(tokenizer_json, 3)
    assert os.environ["RAYON_NUM_THREADS"] == "3"
