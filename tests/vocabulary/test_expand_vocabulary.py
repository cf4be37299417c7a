"""The programs that enlarge a tokenizer and plot what it does: what they take and refuse."""

import io
import json
import os
from pathlib import Path

import pytest
from sentencepiece import SentencePieceTrainer
from sentencepiece import sentencepiece_model_pb2 as protobuf

import plot_fertility
from pretrain_llama.errors import PretrainError
from pretrain_llama.vocabulary.model import load_model
from project import jsonl, run_script


def unigram(path: Path, model: Path) -> None:
    changed = load_model(model)
    changed.trainer_spec.model_type = protobuf.TrainerSpec.UNIGRAM
    path.write_bytes(changed.SerializeToString())


BROKEN = {
    "no model": (lambda path, model: path.write_text("{}"), "no SentencePiece model"),
    "a Unigram model": (unigram, "the SentencePiece model is not of kind BPE"),
    "no file": (lambda path, model: None, "no SentencePiece model"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_only_bpe_models_are_enlarged(tokenizer_model: Path, tmp_path: Path, case: str) -> None:
    change, message = BROKEN[case]
    change(tmp_path / "tokenizer.model", tokenizer_model)
    with pytest.raises(PretrainError, match=message):
        load_model(tmp_path / "tokenizer.model")


def run_expand(folder: Path, model: Path, *options: object):
    shard = folder / "ar_news_daily_split_0000.jsonl"
    shard.write_bytes(jsonl([f"خبر رقم {n} من المدينة اليوم" for n in range(40)]))
    outputs = ["--output", folder / "t.model", "--pieces-output", folder / "p.tsv", "--fertility", folder / "f"]
    shards = sorted(folder.glob("*.jsonl"))
    text = ["--tokenizer-model", model, "--shards", *shards, "--text-keys", "text"]
    return run_script("expand_vocabulary.py", *text, *options, *outputs)


def test_the_program_takes_given_pieces_and_says_what_texts_do_not_yield(tokenizer_model: Path, tmp_path: Path) -> None:
    (tmp_path / "pieces.txt").write_text("خبر\nخب\nالمدينة\n", encoding="utf-8")
    result = run_expand(tmp_path, tokenizer_model, "--pieces", tmp_path / "pieces.txt")
    assert result.returncode == 0, result.stderr
    assert "warning: 1 given pieces never come about: المدينة" in result.stderr
    assert "3 lines: 3 new, 0 known, 0 repeated, 0 blank" in result.stderr
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["vocab_size_after"] == 403
    assert found["list"] == {"lines": 3, "new": 3, "known": 0, "repeated": 0, "blank": 0}
    assert os.path.getsize(tmp_path / "t.model") > tokenizer_model.stat().st_size

    for options, message in [
        (["--languages", "ar", "--new-pieces", 5000], "5000 are wanted"),
        (["--languages", "en", "--new-pieces", 5], "no shard is of en"),
        (["--languages", "ar"], "give --languages with --new-pieces, or --pieces"),
        (["--pieces", tmp_path / "pieces.txt", "--unchanged-languages", "fr"], "no shard is of fr"),
        (
            ["--pieces", tmp_path / "pieces.txt", "--text-keys", "a", "b"],
            "give one text key, or one for each of 1 shards",
        ),
        (
            ["--pieces", tmp_path / "pieces.txt", "--text-keys", "body"],
            "none of the 40 lines looked at has a text: no_text",
        ),
    ]:
        result = run_expand(tmp_path, tokenizer_model, *options)
        assert result.returncode == 2
        assert message in result.stderr


def test_a_list_of_which_no_piece_comes_about_is_refused(tokenizer_model: Path, tmp_path: Path) -> None:
    """All texts would be tokenized anew, to the same ids."""
    (tmp_path / "pieces.txt").write_text("خبر\nالمدينة\n", encoding="utf-8")
    result = run_expand(tmp_path, tokenizer_model, "--pieces", tmp_path / "pieces.txt")
    assert result.returncode == 2
    assert "none of the 2 given pieces ever comes about: خبر, المدينة\n  where: " in result.stderr
    assert "next:  list the parts of each, too" in result.stderr
    assert not (tmp_path / "t.model").exists()
    (tmp_path / "pieces.txt").write_text("خ\nخب\nب\nر\nخبر\n", encoding="utf-8")
    result = run_expand(tmp_path, tokenizer_model, "--pieces", tmp_path / "pieces.txt")
    assert result.returncode == 0 and "warning" not in result.stderr, result.stderr


def test_an_empty_list_of_pieces_is_called_so(tokenizer_model: Path, tmp_path: Path) -> None:
    (tmp_path / "pieces.txt").write_text("\n \n")
    result = run_expand(tmp_path, tokenizer_model, "--pieces", tmp_path / "pieces.txt")
    assert result.returncode == 2
    assert "the list of pieces is empty" in result.stderr


def test_an_empty_tokenizer_is_not_called_one_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").touch()
    with pytest.raises(PretrainError, match="no SentencePiece model: it has no pieces"):
        load_model(tmp_path / "tokenizer.model")


@pytest.fixture
def normalizing(tmp_path: Path) -> Path:
    """A model that normalizes as SentencePiece does by default, which deletes control characters."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["a b ab abc"] * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=264,
        byte_fallback=True,
        minloglevel=2,
    )
    (tmp_path / "normalizing.model").write_bytes(model.getvalue())
    return tmp_path / "normalizing.model"


def test_pieces_that_the_tokenizer_deletes_are_refused(normalizing: Path, tmp_path: Path) -> None:
    """No old row says what their rows would begin with: the mean of none is no number."""
    (tmp_path / "pieces.txt").write_text("\x01\nab\nabab\n\x7f\n", encoding="utf-8")
    result = run_expand(tmp_path, normalizing, "--pieces", tmp_path / "pieces.txt")
    assert result.returncode == 2
    assert r"the tokenizer deletes 2 of the new pieces before it encodes: '\x01', '\x7f'" in result.stderr
    assert not (tmp_path / "t.model").exists()
    assert not (tmp_path / "p.tsv").exists()


def test_a_domain_without_words_is_shown_as_such(tokenizer_model: Path, tmp_path: Path) -> None:
    (tmp_path / "en_blank_none_split_0000.jsonl").write_bytes(jsonl([" "] * 20))
    (tmp_path / "pieces.txt").write_text("خ\nب\nخب\n", encoding="utf-8")
    result = run_expand(tmp_path, tokenizer_model, "--pieces", tmp_path / "pieces.txt")
    assert result.returncode == 0, result.stderr
    domains = plot_fertility.read_domains(tmp_path / "f.csv")
    assert [(name, before > 0, after > 0) for name, before, after in domains.itertuples()] == [
        ("ar news", True, True),
        ("en blank", False, False),
    ]
    result = run_script("plot_fertility.py", "--fertility", tmp_path / "f.csv", "--output", tmp_path / "f.svg")
    assert result.returncode == 0, result.stderr
    assert "<svg" in (tmp_path / "f.svg").read_text()
