"""Tokenizing and counting: bytes as megatron-core's own builder writes them, and every line a document or rejected."""

import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from pretrain_llama.errors import DataError
from pretrain_llama.receipts import MergeReceipt
from pretrain_llama.tokenization.indexed import IndexedReader, IndexedWriter
from project import Result, jsonl, run_script

SHARD = "en_books_tales_split_0000"
TEXTS = [
    "A tale.",
    "  two  spaces\tand a tab",
    "ends itself </s> not",
    "السَّلامُ عليكم",
    "emoji 🦙",
    "line\nbreak",
    "x" * 5000,
]


def tokenize(folder: Path, model: Path, content: bytes, *args: object, lines: int | None = None) -> Result:
    """Run tokenize_shard.py on a merged shard of this content; the merge receipt speaks of `lines`."""
    (folder / "shard.jsonl").write_bytes(content)
    count = content.count(b"\n") if lines is None else lines
    MergeReceipt(SHARD, lines_read=count, lines_written=count).write(folder / "merge.json")
    shard = ["--shard", SHARD, "--jsonl", folder / "shard.jsonl", "--merge-receipt", folder / "merge.json"]
    tokenizer = ["--tokenizer", "toy.01234567", "--tokenizer-model", model]
    out = ["--output-prefix", folder / f"{SHARD}_text_document"]
    return run_script("tokenize_shard.py", *shard, *tokenizer, *out, "--text-key", "text", *args)


def receipt(folder: Path) -> dict:
    return json.loads((folder / f"{SHARD}_text_document.receipt.json").read_text())


def test_documents_are_framed_and_decode_to_their_text(tmp_path: Path, tokenizer_model: Path) -> None:
    result = tokenize(tmp_path, tokenizer_model, jsonl(TEXTS), "--threads", 2)
    assert result.returncode == 0, result.stderr
    reader = IndexedReader(tmp_path / f"{SHARD}_text_document")
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_model))
    documents = np.split(reader.tokens_array, np.cumsum(reader.lengths)[:-1])
    assert len(documents) == len(TEXTS)
    for ids, text in zip(documents, TEXTS, strict=True):
        assert (ids[0], ids[-1]) == (reference.bos_id(), reference.eos_id())
        assert reference.eos_id() not in ids[1:-1], "a document must not end itself"
        assert reference.decode(ids[1:-1].tolist()) == text
    written = receipt(tmp_path)
    assert written["documents"] == written["sequences"] == written["lines_read"] == len(TEXTS)
    assert written["tokens"] == reader.tokens == sum(map(len, documents))
    assert (written["prepend_bos"], written["append_eos"], written["dtype"]) == (True, True, "uint16")


def test_bos_and_eos_can_be_left_out(tmp_path: Path, tokenizer_model: Path) -> None:
    tokenize(tmp_path, tokenizer_model, jsonl(["A tale."]), "--prepend-bos", "false", "--append-eos", "false")
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_model))
    ids = IndexedReader(tmp_path / f"{SHARD}_text_document").tokens_array
    assert ids.tolist() == reference.encode("A tale.")
    assert (receipt(tmp_path)["prepend_bos"], receipt(tmp_path)["append_eos"]) == (False, False)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
@pytest.mark.parametrize("lengths", [[3, 1, 700, 0, 2], [1], []])
def test_bin_and_idx_are_megatrons_to_the_byte(tmp_path: Path, dtype: type, lengths: list[int]) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder

    random = np.random.default_rng(0)
    documents = [random.integers(0, 30_000, length).astype(dtype) for length in lengths]
    builder = IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=dtype)
    for ids in documents:
        builder.add_document(ids, [len(ids)])
    builder.finalize(str(tmp_path / "theirs.idx"))
    with IndexedWriter(tmp_path / "ours", np.dtype(dtype)) as writer:
        for ids in documents:
            writer.add_document(ids)
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()
    if sum(lengths):
        theirs = IndexedDataset(str(tmp_path / "ours"))
        assert [item.tolist() for item in theirs] == [ids.tolist() for ids in documents]
    reader = IndexedReader(tmp_path / "ours")
    assert (reader.documents, reader.sequences, reader.tokens) == (len(lengths), len(lengths), sum(lengths))


def test_bad_lines_are_quarantined_with_their_reasons(tmp_path: Path, tokenizer_model: Path) -> None:
    bad = {
        b'{"text": "broken 1"': "bad_json",
        b'{"content": "broken 2"}': "no_text",
        b'["broken 3"]': "no_text",
        b'{"text": 4}': "not_text",
        b'{"text": null}': "not_text",
        b'{"text": " \\n "}': "empty",
        b'{"text": "lone \\ud800"}': "bad_unicode",
        b'{"text": "latin \xe9"}': "bad_unicode",
    }
    content = b"".join(line + b"\n" + jsonl(["good"]) for line in bad)
    result = tokenize(tmp_path, tokenizer_model, content, "--max-rejected-fraction", 0.5)
    assert result.returncode == 0, result.stderr
    quarantine = (tmp_path / f"{SHARD}_text_document.rejected.jsonl").read_text().splitlines()
    rejected = [json.loads(line) for line in quarantine]
    assert [(entry["line"], entry["reason"]) for entry in rejected] == [
        (1 + 2 * index, reason) for index, reason in enumerate(bad.values())
    ]
    assert rejected[0]["text"] == '{"text": "broken 1"'
    written = receipt(tmp_path)
    assert written["rejected"] == {"bad_json": 1, "bad_unicode": 2, "empty": 1, "no_text": 2, "not_text": 2}
    assert (written["lines_read"], written["documents"]) == (16, 8)


def test_too_many_rejections_fail_the_shard(tmp_path: Path, tokenizer_model: Path) -> None:
    result = tokenize(tmp_path, tokenizer_model, jsonl(["good"] * 9) + b"not json\n")
    assert result.returncode == 2
    assert "data error: 1 of 10 lines of en_books_tales_split_0000 are rejected: 1 bad_json" in result.stderr
    assert "correct text_key in config/corpora.tsv" in result.stderr
    assert not list(tmp_path.glob("*.bin")) and not list(tmp_path.glob("*.idx"))
    assert "not json" in (tmp_path / f"{SHARD}_text_document.rejected.jsonl").read_text()


def test_a_nested_text_key_and_a_key_with_dots(tmp_path: Path, tokenizer_model: Path) -> None:
    content = b'{"data": {"text": "nested"}}\n{"data.text": "literal"}\n'
    result = tokenize(tmp_path, tokenizer_model, content, "--text-key", "data.text")
    assert result.returncode == 0, result.stderr
    assert receipt(tmp_path)["documents"] == 2


def test_a_shard_that_was_cut_short_is_noticed(tmp_path: Path, tokenizer_model: Path) -> None:
    result = tokenize(tmp_path, tokenizer_model, jsonl(["one", "two"]), lines=3)
    assert result.returncode == 2
    assert "3 lines were merged into en_books_tales_split_0000, 2 read from it" in result.stderr


def test_an_empty_shard_is_counted_as_empty(tmp_path: Path, tokenizer_model: Path) -> None:
    assert tokenize(tmp_path, tokenizer_model, b"").returncode == 0
    assert (receipt(tmp_path)["documents"], receipt(tmp_path)["tokens"]) == (0, 0)
    assert len(IndexedReader(tmp_path / f"{SHARD}_text_document").tokens_array) == 0


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda prefix: Path(f"{prefix}.bin").unlink(), "its .bin or .idx is missing"),
        (lambda prefix: Path(f"{prefix}.idx").write_bytes(b"NOTANIDX" * 10), "is no Megatron index"),
        (lambda prefix: Path(f"{prefix}.idx").write_bytes(Path(f"{prefix}.idx").read_bytes()[:-8]), "do not fit its 2"),
        (lambda prefix: Path(f"{prefix}.bin").write_bytes(b"\0\0"), "the .bin has 2 bytes, the .idx speaks of 3"),
        (
            lambda prefix: Path(f"{prefix}.idx").write_bytes(b"MMIDIDX\0\0" + bytes([9]) + bytes(40)),
            "version 9 and dtype code 0",
        ),
    ],
)
def test_a_damaged_pair_is_refused(tmp_path: Path, damage, problem: str) -> None:
    with IndexedWriter(tmp_path / "pair", np.dtype(np.uint16)) as writer:
        writer.add_document(np.array([1, 2], np.uint16))
        writer.add_document(np.array([3], np.uint16))
    damage(tmp_path / "pair")
    with pytest.raises(DataError, match=problem):
        IndexedReader(tmp_path / "pair")


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), IndexedWriter(tmp_path / "pair", np.dtype(np.uint16)) as writer:
        writer.add_document(np.array([1], np.uint16))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_counted_name_that_lies_is_refused(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / f"{SHARD}_text_document", np.dtype(np.uint16)) as writer:
        writer.add_document(np.array([1, 2], np.uint16))
    prefix = tmp_path / f"{SHARD}_text_document"
    wrong = run_script("name_indexed.py", "--prefix", prefix, "--output-prefix", f"{prefix}_dc=1_sc=1_tc=3")
    assert wrong.returncode == 2
    assert "counts 1 documents, 1 sequences and 2 tokens, not those of" in wrong.stderr
    right = run_script("name_indexed.py", "--prefix", prefix, "--output-prefix", f"{prefix}_dc=1_sc=1_tc=2")
    assert right.returncode == 0, right.stderr
    linked = Path(f"{prefix}_dc=1_sc=1_tc=2.bin")
    assert linked.stat().st_ino == Path(f"{prefix}.bin").stat().st_ino, "no bytes move"


@pytest.mark.parametrize("frame", ["--prepend-bos", "--append-eos"])
def test_a_model_without_the_frame_is_refused(tmp_path: Path, frame: str) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f g"] * 50),
        model_prefix=str(tmp_path / "bare"),
        vocab_size=30,
        hard_vocab_limit=False,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    other = {"--prepend-bos": "--append-eos", "--append-eos": "--prepend-bos"}[frame]
    result = tokenize(tmp_path, tmp_path / "bare.model", jsonl(["a"]), frame, "true", other, "false")
    assert result.returncode == 2
    assert "the model has no BOS or no EOS token" in result.stderr
