"""Tokenizing: every line a document, blank, or rejected with a reason; what a person sees when something is wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from pretrain_llama.files import read_json, write_json
from pretrain_llama.tokenization.certificate import FILE_NAME, Certificate
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.indexed import IndexedReader
from project import PREFIX, Result, deliver, jsonl, merge_shard, tokenize_shard, train_tokenizer

TEXTS = [
    "A tale.",
    "  two  spaces\tand a tab",
    "ends itself </s> not",
    "السَّلامُ عليكم",
    "emoji 🦙",
    "line\nbreak",
    "x" * 5000,
]


def tokenize(folder: Path, model: Path, content: bytes, *args: object) -> Result:
    """Merge a vendor file of this content, and tokenize the shard."""
    assert merge_shard(folder, deliver(folder / "vendor.jsonl", content)).returncode == 0
    return tokenize_shard(folder, model, *args)


def receipt(folder: Path) -> dict:
    return read_json(folder / f"{PREFIX}.receipt.json")


def test_documents_are_framed_and_decode_to_their_text(tmp_path: Path, tokenizer_model: Path) -> None:
    result = tokenize(tmp_path, tokenizer_model, jsonl(TEXTS), "--threads", 2)
    assert result.returncode == 0, result.stderr
    reader = IndexedReader(tmp_path / PREFIX)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_model))
    documents = np.split(reader.tokens_array, np.cumsum(reader.lengths)[:-1])
    assert len(documents) == len(TEXTS)
    for ids, text in zip(documents, TEXTS, strict=True):
        assert (ids[0], ids[-1]) == (reference.bos_id(), reference.eos_id())
        assert reference.eos_id() not in ids[1:-1], "a document must not end itself"
        assert reference.decode(ids[1:-1].tolist()) == text
    written = receipt(tmp_path)
    assert written["documents"] == written["sequences"] == written["lines"] == len(TEXTS)
    assert written["tokens"] == reader.tokens == sum(map(len, documents))
    assert (written["prepend_bos"], written["append_eos"], written["dtype"]) == (True, True, "uint16")
    assert written["frame"] == {"bos": {"id": 1, "token": "<s>"}, "eos": {"id": 2, "token": "</s>"}}


def test_bos_and_eos_can_be_left_out(tmp_path: Path, tokenizer_model: Path) -> None:
    tokenize(tmp_path, tokenizer_model, jsonl(["A tale."]), "--prepend-bos", "false", "--append-eos", "false")
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_model))
    ids = IndexedReader(tmp_path / PREFIX).tokens_array
    assert ids.tolist() == reference.encode("A tale.")
    assert (receipt(tmp_path)["prepend_bos"], receipt(tmp_path)["append_eos"]) == (False, False)
    assert receipt(tmp_path)["frame"] == {"bos": None, "eos": None}


def test_what_is_neither_true_nor_false_is_told(tmp_path: Path, tokenizer_model: Path) -> None:
    result = tokenize(tmp_path, tokenizer_model, jsonl(["A tale."]), "--prepend-bos", "yes")
    assert result.returncode == 2
    assert result.stderr.endswith("error: argument --prepend-bos: 'yes' is neither true nor false\n")


def test_documents_that_use_new_pieces_are_counted(tmp_path: Path, tokenizer_model: Path) -> None:
    model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_model))
    texts = [f"A tale of {number} {word}" for number in range(20) for word in ("ships", "zzz")]
    largest = [max(model.encode(text)) for text in texts]
    first = sorted(largest)[20]
    assert 0 < sum(number >= first for number in largest) < 40
    promised = ["--held-out-fraction", 0.5, "--unchanged", "toy.00000000:1:en", f"toy.01234567:{first}:fr,en"]
    assert tokenize(tmp_path, tokenizer_model, jsonl(texts), *promised).returncode == 0
    assert 0 < receipt(tmp_path)["held_out_documents"] < 40, "which are counted, too"
    assert receipt(tmp_path)["with_new_pieces"] == sum(number >= first for number in largest)
    for others in (f"toy.89abcdef:{first}:en", f"toy.01234567:{first}:fr"):
        assert tokenize_shard(tmp_path, tokenizer_model, "--unchanged", others).returncode == 0
        assert receipt(tmp_path)["with_new_pieces"] is None
    refused = tokenize_shard(tmp_path, tokenizer_model, "--unchanged", "en")
    assert "argument --unchanged: 'en' is not TOKENIZER:FIRST_NEW_ID:LANGUAGE,…" in refused.stderr


def test_rejected_lines_are_kept_whole_with_their_file_and_line(tmp_path: Path, tokenizer_model: Path) -> None:
    first = deliver(tmp_path / "a.jsonl", jsonl(["good"] * 3) + b"\n" + b'{"text": "latin \xe9 in file a"}')
    second = deliver(tmp_path / "b.jsonl.gz", b'["broken"]\n' + jsonl(["good"] * 6) + b"\xff" * 40)
    assert merge_shard(tmp_path, first, second).returncode == 0
    long_line = ["--max-line-bytes", 30]
    result = tokenize_shard(tmp_path, tokenizer_model, "--max-rejected-fraction", 0.5, *long_line)
    assert result.returncode == 0, result.stderr
    kept = [json.loads(line) for line in (tmp_path / f"{PREFIX}.rejected.jsonl").read_text().splitlines()]
    assert [(Path(entry["file"]).name, entry["start"], entry["line"], entry["reason"]) for entry in kept] == [
        ("a.jsonl", 0, 5, "bad_unicode"),
        ("b.jsonl.gz", 0, 1, "no_text"),
        ("b.jsonl.gz", 0, 8, "too_long"),
    ]
    originals = [entry["text"].encode("utf-8", "surrogateescape") for entry in kept]
    assert originals == [b'{"text": "latin \xe9 in file a"}', b'["broken"]', b"\xff" * 40]
    assert receipt(tmp_path)["rejected"] == {"bad_unicode": 1, "no_text": 1, "too_long": 1}


@pytest.mark.parametrize("kind", ["bpe", "unigram"], ids=["gigatoken", "sentencepiece"])
@pytest.mark.parametrize("blanks", [b"", b"\n"], ids=["a block at once", "line by line"])
def test_a_text_of_which_the_tokenizer_leaves_nothing_is_empty(tmp_path: Path, kind: str, blanks: bytes) -> None:
    model = train_tokenizer(tmp_path / "tokenizer.model", model_type=kind)  # normalizes by nmt_nfkc
    if kind == "bpe":
        Certificate.of(load_reference(model), "toy.01234567").write(tmp_path / FILE_NAME)
    nothing = ["\u200b", "\ufeff \u200b", "\u200e\u200b"]
    texts = ["A tale.", nothing[0], "The sea.", nothing[1], nothing[2], "A ship."]
    result = tokenize(tmp_path, model, blanks + jsonl(texts) + b"not json\n" * bool(blanks), "--max-rejected-lines", 4)
    assert result.returncode == 0, result.stderr
    written = receipt(tmp_path)
    assert written["engine"].startswith("gigatoken" if kind == "bpe" else "sentencepiece")
    assert written["rejected"] == {"empty": 3} | ({"bad_json": 1} if blanks else {})
    assert (written["documents"], written["blank"]) == (3, len(blanks))
    kept = [json.loads(line) for line in (tmp_path / f"{PREFIX}.rejected.jsonl").read_text().splitlines()][:3]
    assert [entry["line"] for entry in kept] == [number + len(blanks) for number in (2, 4, 5)]
    assert [json.loads(entry["text"])["text"] for entry in kept] == nothing
    reference = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pair = IndexedReader(tmp_path / PREFIX)
    documents = [ids.tolist() for ids in np.split(pair.tokens_array, np.cumsum(pair.lengths)[:-1])]
    assert documents == [[1, *reference.encode(text), 2] for text in texts if text not in nothing]


@pytest.mark.parametrize(
    ("good", "bad", "allowed"),
    [(9, 4, False), (9, 3, True), (4_000, 4, True), (3_000, 4, False), (0, 1, False)],
    ids=["over both", "few, in a tiny shard", "a small fraction", "a large fraction", "nothing else"],
)
def test_rejections_are_limited(tmp_path: Path, tokenizer_model: Path, good: int, bad: int, allowed: bool) -> None:
    result = tokenize(tmp_path, tokenizer_model, jsonl(["good"] * good) + b"not json\n" * bad)
    assert "not json" in (tmp_path / f"{PREFIX}.rejected.jsonl").read_text()
    assert (tmp_path / f"{PREFIX}.bin").exists() == (tmp_path / f"{PREFIX}.idx").exists() == allowed
    assert result.returncode == (0 if allowed else 2)
    if not allowed:
        assert f"{bad} of {good + bad} lines of en_books_tales_split_0000 are rejected: {bad} bad_json" in result.stderr
        assert f'vendor.jsonl, line {good + 1}: bad_json: "not json"' in result.stderr
        assert ("no document is left" if not good else "max_rejected_lines 3 allow fewer") in result.stderr
        assert re.search(r"where: .*vendor\.jsonl\n", result.stderr), "Snakemake removes what a failed job wrote"
        assert "correct text_key in config/corpora.tsv" in result.stderr


def test_a_line_that_is_most_of_a_shard_is_more_than_a_line(tmp_path: Path, tokenizer_model: Path) -> None:
    array = json.dumps([{"text": "a document in an array"}] * 10_000).encode() + b"\n"
    result = tokenize(tmp_path, tokenizer_model, jsonl(["good"] * 200) + array)
    assert (
        "1 of 201 lines of en_books_tales_split_0000 are rejected: 1 no_text; 360,000 of 363,401 bytes" in result.stderr
    )
    assert not (tmp_path / f"{PREFIX}.bin").exists()


def test_the_failure_shows_the_first_five(tmp_path: Path, tokenizer_model: Path) -> None:
    bad = b"".join(b'{"content": "broken %d"}\n' % number for number in range(9))
    result = tokenize(tmp_path, tokenizer_model, bad)
    shown = [f"broken {number}" in result.stderr for number in range(9)]
    assert shown == [True] * sum(shown) + [False] * (9 - sum(shown))
    assert 1 < sum(shown) <= 5, "fewer where the shard ended once its limits were passed for sure"


def test_a_nested_text_key_and_a_key_with_dots(tmp_path: Path, tokenizer_model: Path) -> None:
    content = b'{"data": {"text": "nested"}}\n{"data.text": "literal"}\n'
    result = tokenize(tmp_path, tokenizer_model, content, "--text-key", "data.text")
    assert result.returncode == 0, result.stderr
    assert receipt(tmp_path)["documents"] == 2


def test_numbers_that_only_python_writes_lose_no_document(tmp_path: Path, tokenizer_model: Path) -> None:
    content = b'{"text": "good", "score": NaN, "weight": -Infinity}\n'
    assert tokenize(tmp_path, tokenizer_model, content, "--max-rejected-lines", 0).returncode == 0
    assert receipt(tmp_path)["documents"] == 1


def test_a_shard_that_changed_after_its_merge_is_noticed(tmp_path: Path, tokenizer_model: Path) -> None:
    assert merge_shard(tmp_path, deliver(tmp_path / "a.jsonl", jsonl(["one", "two"]))).returncode == 0
    for content, problem in [
        (jsonl(["one"]), "32 bytes were merged into en_books_tales_split_0000, 16 read from it"),
        (jsonl(["one", "too"]), "32 read from it; lines and hashes are 2, "),
    ]:
        (tmp_path / "shard.jsonl").write_bytes(content)
        result = tokenize_shard(tmp_path, tokenizer_model)
        assert result.returncode == 2
        assert problem in result.stderr
        assert not (tmp_path / f"{PREFIX}.bin").exists()


def test_a_shard_joined_in_a_store_is_known_by_its_bytes(tmp_path: Path, tokenizer_model: Path) -> None:
    assert merge_shard(tmp_path, deliver(tmp_path / "a.jsonl", jsonl(["one", "two"]))).returncode == 0
    merged = read_json(tmp_path / "merge.json")
    merged |= {"lines": None, "blake3": "", "ranges": [part | {"lines": None} for part in merged["ranges"]]}
    write_json(tmp_path / "merge.json", merged)
    (tmp_path / "shard.jsonl").write_bytes(jsonl(["one"]))
    cut_short = tokenize_shard(tmp_path, tokenizer_model)
    assert cut_short.returncode == 2
    assert "32 bytes were merged into en_books_tales_split_0000, 16 read from it" in cut_short.stderr
    (tmp_path / "shard.jsonl").write_bytes(jsonl(["one", "two"]))
    assert tokenize_shard(tmp_path, tokenizer_model).returncode == 0


def test_a_shard_of_blank_lines_is_counted_as_empty(tmp_path: Path, tokenizer_model: Path) -> None:
    assert tokenize(tmp_path, tokenizer_model, b"\n \r\n\xef\xbb\xbf\n").returncode == 0
    written = receipt(tmp_path)
    assert (written["lines"], written["blank"], written["documents"], written["tokens"]) == (3, 3, 0, 0)
    assert len(IndexedReader(tmp_path / PREFIX).tokens_array) == 0


@pytest.mark.parametrize("role", ["bos", "eos"])
def test_a_model_without_the_frame_is_refused(tmp_path: Path, role: str) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f g"] * 50),
        model_prefix=str(tmp_path / "bare"),
        vocab_size=30,
        hard_vocab_limit=False,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    frame = ["--prepend-bos", str(role == "bos"), "--append-eos", str(role == "eos")]
    result = tokenize(tmp_path, tmp_path / "bare.model", jsonl(["a"]), *frame)
    assert result.returncode == 2
    assert f"the tokenizer has no {role.upper()} token" in result.stderr
    switch = {"bos": "prepend_bos", "eos": "append_eos"}[role]
    assert f"in config.yaml, name it as {role}_token, or switch off {switch}" in result.stderr


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    result = tokenize(tmp_path, tmp_path / name, jsonl(["a"]))
    assert result.returncode == 2
    assert "give a tokenizer.model or a tokenizer.json in config.yaml" in result.stderr


def test_a_receipt_of_another_version_is_refused(tmp_path: Path, tokenizer_model: Path) -> None:
    assert merge_shard(tmp_path, deliver(tmp_path / "a.jsonl", jsonl(["one"]))).returncode == 0
    (tmp_path / "merge.json").write_text('{"shard": "en_books_tales_split_0000", "lines_read": 1}')
    result = tokenize_shard(tmp_path, tokenizer_model)
    assert result.returncode == 2
    assert "no receipt of this version" in result.stderr
