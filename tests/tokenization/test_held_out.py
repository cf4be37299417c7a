"""Documents held out for validation: which, how many, and that none is on both sides."""

import shutil
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import models, normalizers, trainers
from tokenizers.pre_tokenizers import ByteLevel, Metaspace, Punctuation, Sequence, Split

from pretrain_llama.files import read_json
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.held_out import are_held_out
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.tokenization.texts import Texts
from project import PREFIX, SHARD, Result, deliver, jsonl, merge_shard, run_script, tokenize_shard, train_tokenizer

TALES = [f"A tale of {number} ships, and of the sea." for number in range(400)]


def documents(prefix: Path) -> list[bytes]:
    pair = IndexedReader(prefix)
    return [part.tobytes() for part in np.split(pair.tokens_array, np.cumsum(pair.lengths)[:-1])]


def tokenize(folder: Path, model: Path, texts: list[str], fraction: float) -> Result:
    folder.mkdir(exist_ok=True)
    assert merge_shard(folder, deliver(folder / "vendor.jsonl", jsonl(texts))).returncode == 0
    return tokenize_shard(folder, model, "--held-out-fraction", fraction)


def test_the_choice_is_stable_and_of_about_the_fraction() -> None:
    texts = Texts.of(str(number).encode() for number in range(10_000))
    held_out = are_held_out(texts, 0.1)
    assert np.flatnonzero(held_out)[:5].tolist() == [0, 7, 14, 25, 29]
    assert 900 < held_out.sum() < 1_100
    assert not (held_out & ~are_held_out(texts, 0.2)).any(), "a larger fraction holds out the same documents, and more"
    assert not are_held_out(texts, 0).any()
    assert are_held_out(texts, 1.0).all()


def test_every_document_is_on_one_side_in_its_order(tmp_path: Path, tokenizer_model: Path) -> None:
    assert tokenize(tmp_path / "whole", tokenizer_model, TALES, 0).returncode == 0
    assert tokenize(tmp_path / "divided", tokenizer_model, TALES + TALES, 0.25).returncode == 0
    whole = documents(tmp_path / "whole" / PREFIX)
    trained = documents(tmp_path / "divided" / PREFIX)
    held_out = documents(tmp_path / "divided" / f"{SHARD}_held_out_document")
    assert 120 < len(held_out) < 280 and len(trained) + len(held_out) == 800
    assert not set(trained) & set(held_out), "the second copy of a document is on the side of the first"
    assert trained == [document for document in whole + whole if document in set(trained)]
    assert held_out == [document for document in whole + whole if document in set(held_out)]
    receipt = read_json(tmp_path / "divided" / f"{PREFIX}.receipt.json")
    assert (receipt["documents"], receipt["held_out_documents"]) == (len(trained), len(held_out))
    assert receipt["held_out_tokens"] * 2 == sum(map(len, held_out))
    text_of = dict(zip(whole, TALES, strict=True))
    assert receipt["text_bytes"] == sum(len(text_of[document]) for document in trained)


def test_without_a_fraction_the_pair_held_out_is_empty(tmp_path: Path, tokenizer_model: Path) -> None:
    assert tokenize(tmp_path, tokenizer_model, TALES[:3], 0).returncode == 0
    assert IndexedReader(tmp_path / f"{SHARD}_held_out_document").documents == 0


def test_with_the_whole_fraction_the_pair_to_train_on_is_empty(tmp_path: Path, tokenizer_model: Path) -> None:
    result = tokenize(tmp_path, tokenizer_model, TALES[:3], 1.0)
    assert result.returncode == 0, result.stderr
    assert IndexedReader(tmp_path / PREFIX).documents == 0
    assert IndexedReader(tmp_path / f"{SHARD}_held_out_document").documents == 3


def test_the_check_finds_a_document_on_both_sides(tmp_path: Path, tokenizer_model: Path) -> None:
    assert tokenize(tmp_path / "divided", tokenizer_model, TALES, 0.25).returncode == 0
    assert tokenize(tmp_path / "whole", tokenizer_model, TALES, 0).returncode == 0
    held_out = tmp_path / "held out" / f"{SHARD}_held_out_document"
    held_out.parent.mkdir()
    for suffix in (".bin", ".idx"):
        (tmp_path / "divided" / f"{held_out.name}{suffix}").rename(f"{held_out}{suffix}")
    sound = run_script("check_held_out.py", "--held-out", held_out.parent, "--trained", tmp_path / "divided")
    count = IndexedReader(held_out).documents
    assert sound.returncode == 0, sound.stderr
    assert sound.stdout == f"1 pairs to train on hold none of the {count} documents held out\n"
    mixed = run_script("check_held_out.py", "--held-out", held_out.parent, "--trained", tmp_path / "whole")
    assert mixed.returncode == 2
    first = np.flatnonzero(are_held_out(Texts.of(tale.encode() for tale in TALES), 0.25))[0]
    assert f"{count} documents are trained on and held out" in mixed.stderr
    assert f"{SHARD}_text_document, document {first}" in mixed.stderr
    assert "delete the others. If they were: a tokenizer without byte fallback" in mixed.stderr
    other = (tmp_path / "toy.01234567", tmp_path / "toy.89abcdef")
    shutil.copytree(held_out.parent, other[0])
    shutil.copytree(tmp_path / "divided", other[1])
    apart = run_script("check_held_out.py", "--held-out", other[0], "--trained", other[1])
    assert apart.returncode == 2 and "the pairs are of two tokenizers: toy.01234567, toy.89abcdef" in apart.stderr
    none = run_script("check_held_out.py", "--held-out", tmp_path, "--trained", tmp_path / "whole")
    assert none.returncode == 2 and "no .bin/.idx pair" in none.stderr


@pytest.fixture(scope="module")
def normalizing_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model with its default normalizer, nmt_nfkc, which also takes away blanks that follow blanks."""
    return train_tokenizer(tmp_path_factory.mktemp("normalizing") / "tokenizer.model")


def test_what_a_tokenizer_normalizes_is_one_document(tmp_path: Path, normalizing_model: Path) -> None:
    spellings = [f"{fine} tale of {number} ships." for number in range(200) for fine in ("A fine", "A ﬁne", "A  fine")]
    divided, held_out = tmp_path / "divided", tmp_path / "held out" / f"{SHARD}_held_out_document"
    assert tokenize(divided, normalizing_model, spellings, 0.25).returncode == 0
    by_text = are_held_out(Texts.of(spelling.encode() for spelling in spellings), 0.25).reshape(-1, 3)
    assert (by_text.any(axis=1) & ~by_text.all(axis=1)).sum() > 50, "by their texts alone, they would part"
    held_out.parent.mkdir()
    for suffix in (".bin", ".idx"):
        (divided / f"{held_out.name}{suffix}").rename(f"{held_out}{suffix}")
    count = IndexedReader(held_out).documents
    assert 60 < count < 240 and count % 3 == 0, "three spellings, one side"
    checked = run_script("check_held_out.py", "--held-out", held_out.parent, "--trained", divided)
    assert checked.returncode == 0, checked.stderr


NORMALIZERS = {
    "none": (None, False),
    "Llama-2's": (normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), False),
    "compatibility characters": (normalizers.NFKC(), True),
    "one of several": (normalizers.Sequence([normalizers.Replace(" ", "▁"), normalizers.NFKC()]), True),
}


@pytest.mark.parametrize("name", NORMALIZERS)
def test_a_tokenizer_json_that_normalizes_is_known(tmp_path: Path, name: str) -> None:
    normalizer, normalizes = NORMALIZERS[name]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    reference = load_reference(tmp_path / "tokenizer.json")
    texts = [Texts.of(f"A {fine} ship {number}".encode() for number in range(500)) for fine in ("fine", "ﬁne")]
    sides = [are_held_out(each, 0.5, reference.normalize) for each in texts]
    assert np.array_equal(*sides) == normalizes
    assert normalizes or np.array_equal(sides[0], are_held_out(texts[0], 0.5)), "as every tokenizer of that kind"


SHIPS = [f"the ship {number}" for number in range(200)]
SPELLINGS = {
    "bare": SHIPS,
    "space": [f" {ship}" for ship in SHIPS],
    "mark": [f" {ship}".replace(" ", "▁") for ship in SHIPS],
    "underscore": [f" {ship}".replace(" ", "_") for ship in SHIPS],
}
# What a pre-tokenizer makes one of these spellings.
PRE_TOKENIZERS = {
    "Metaspace, always": (Metaspace(), {"bare", "space", "mark"}),
    "Metaspace, first": (Metaspace(prepend_scheme="first", split=False), {"bare", "space", "mark"}),
    "Metaspace, never": (Metaspace(prepend_scheme="never"), {"space", "mark"}),
    "another mark": (Metaspace("_", "first"), {"bare", "space", "underscore"}),
    "another mark, never": (Metaspace("_", "never", split=False), {"space", "underscore"}),
    "ByteLevel": (ByteLevel(add_prefix_space=True), {"bare", "space"}),
    "ByteLevel without": (ByteLevel(add_prefix_space=False), set()),
    "a sequence": (Sequence([Sequence([Punctuation(), Metaspace()])]), {"bare", "space", "mark"}),
    "a sequence of bytes": (
        Sequence([Split("e", "isolated"), ByteLevel(add_prefix_space=True, use_regex=False)]),
        {"bare", "space"},
    ),
    "none": (None, set()),
}


@pytest.mark.parametrize("normalizer", [None, normalizers.NFKC()], ids=["plain", "normalizing"])
@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_spellings_of_one_document_are_on_one_side(
    tmp_path: Path, name: str, normalizer: normalizers.Normalizer | None
) -> None:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    pre_tokenizer, same = PRE_TOKENIZERS[name]
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(chain(*SPELLINGS.values()), trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    reference = load_reference(tmp_path / "tokenizer.json")
    texts = {spelling: Texts.of(ship.encode() for ship in ships) for spelling, ships in SPELLINGS.items()}
    ids = {spelling: [reference.encode(Texts.of([text]))[0].tolist() for text in texts[spelling]] for spelling in texts}
    sides = {spelling: are_held_out(texts[spelling], 0.5, reference.normalize).tolist() for spelling in texts}
    for one, other in combinations(SPELLINGS, 2):
        assert (ids[one] == ids[other]) == ({one, other} <= same), (one, other)
        assert (sides[one] == sides[other]) == ({one, other} <= same | {"space", "mark"}), (one, other)


def test_a_text_that_becomes_empty_gets_no_space(tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Strip(), Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    normalize = load_reference(tmp_path / "tokenizer.json").normalize
    assert normalize and (normalize(" \n"), normalize(" a\n")) == ("", " a")


def test_a_mark_and_the_space_that_it_stands_for_are_one(tokenizer_model: Path) -> None:
    reference = load_reference(tokenizer_model)
    assert reference.normalize is None
    texts = [Texts.of(f"A{space}ship {number}".encode() for number in range(100)) for space in " ▁"]
    assert np.array_equal(reference.encode(texts[0])[0], reference.encode(texts[1])[0])
    assert np.array_equal(are_held_out(texts[0], 0.5), are_held_out(texts[1], 0.5))


def test_a_misspelt_domain_has_nothing_to_join(tmp_path: Path) -> None:
    signature = tmp_path / "data_signature.json"
    signature.write_text(
        f'["{PREFIX}_dc=1_sc=1_tc=9.bin", "ar_news_daily_split_0000_text_document_dc=1_sc=1_tc=9.bin"]'
    )
    names = ["--language", "en", "--domain", "boks", "--output-prefix", tmp_path / "en_boks"]
    result = run_script("join_held_out.py", "--signature", signature, "--tokenized", tmp_path, *names)
    assert result.returncode == 2
    assert "no shard is of language 'en' and domain 'boks'" in result.stderr
    assert "give --language and --domain of its shards: ar news, en books" in result.stderr
