"""What is called back is gone, every byte of it; the record says so, and the workflow goes on without it."""

import json
from pathlib import Path

import numpy as np
import pytest

from pretrain_llama.errors import ConfigError, DataError, OperatorError
from pretrain_llama.files import read_json, write_json
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.tokenization.withdrawn import check_no_withdrawal, read_record
from pretrain_llama.withdrawal.carrying_out import check_alone
from pretrain_llama.withdrawal.scope import of_documents, of_files
from project import Project, Result, jsonl, run_script

TALE = "A tale of 17 ships, and of the sea."
NEW = "withdraw.py", "--who", "me"


def holding(folder: Path, needle: bytes) -> list[Path]:
    """The files below results/ that hold some bytes."""
    return [path for path in (folder / "results").rglob("*") if path.is_file() and needle in path.read_bytes()]


def ids_of(project: Project, text: str) -> bytes:
    """The tokens of a document, without what stands around it, as they lie in a .bin."""
    import sentencepiece

    model = next(project.folder.glob("results/tokenizers/*/tokenizer.model"))
    return np.array(sentencepiece.SentencePieceProcessor(str(model)).encode(text), np.uint16).tobytes()


def withdraw(project: Project, *args: str) -> Result:
    return run_script(*NEW, *args, cwd=project.folder)


def test_a_document_and_then_its_file_are_gone_to_the_last_byte(copy: Project) -> None:
    found = run_script("find_documents.py", "--field", "text", "--pattern", "of 17 ships", cwd=copy.folder)
    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    assert (document["file"], document["line"]) == ("vendor/en_books_tales/a.jsonl", 18)
    (copy.folder / "found.jsonl").write_text(found.stdout)
    ids = ids_of(copy, TALE)
    assert holding(copy.folder, ids) and holding(copy.folder, TALE.encode())
    asked = "--why", "a person asked", "--documents", "found.jsonl"
    told = withdraw(copy, *asked)
    assert told.returncode == 0, told.stderr
    assert "1 documents" in told.stdout and "output/checkpoints/iter_" in told.stdout and "export/final" in told.stdout
    assert holding(copy.folder, ids), "nothing is changed without --yes"
    done = withdraw(copy, *asked, "--yes")
    assert done.returncode == 0, done.stderr
    assert not holding(copy.folder, ids) and not holding(copy.folder, TALE.encode())
    entry = read_record(copy.folder / "results/withdrawals.jsonl")[0]
    assert (entry["who"], entry["why"], entry["documents"]) == ("me", "a person asked", 1)
    pending = copy.pending("data")
    assert pending["sign_data"] == 1 and "tokenize_shard" not in pending and "merge_shard" not in pending
    again = withdraw(copy, *asked)
    assert again.returncode == 2 and "no document of any shard has one of these keys" in again.stderr
    file = "vendor/en_books_tales/a.jsonl"
    assert withdraw(copy, "--why", "called back", "--files", file, "--yes").returncode == 0
    assert not holding(copy.folder, ids_of(copy, "A tale of 18 ships, and of the sea."))
    refused = copy.snakemake("--dry-run")
    assert "the corpus en_books_tales was withdrawn" in refused.stdout + refused.stderr
    copy.vendor("en_books_tales/b.jsonl", jsonl([TALE, "another tale"] * 40))
    made = copy.snakemake("data")
    assert made.returncode == 0, made.stdout + made.stderr
    sums = read_json(next(copy.folder.glob("results/tokenized/*/conservation.json")))["corpora"]["en_books_tales"]
    assert sums["withdrawn"] == 40 and sums["lines"] == sums["documents"] + sums["held_out_documents"] + 40
    for path in copy.folder.glob("results/indexed/*/en_books*.idx"):
        IndexedReader(path.with_suffix(""))
    assert not [path for path in holding(copy.folder, ids) if path.suffix == ".bin"], "it never comes in again"


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no document of any shard"):
        of_documents(tmp_path, {})
    write_json(tmp_path / "plan/en_books_tales.json", {"files": {}})
    with pytest.raises(ConfigError, match="no planned file 'a'"):
        of_files(tmp_path, {"en_books_tales": ["a"]})


def test_nothing_else_begins_while_a_withdrawal_is_interrupted(tmp_path: Path) -> None:
    check_no_withdrawal(str(tmp_path))
    journal = {"when": "2026-12-01", "who": "me", "why": "called back", "asked": {}}
    write_json(tmp_path / "results/withdrawing.json", journal)
    with pytest.raises(OperatorError, match="a withdrawal was interrupted, begun 2026-12-01 by me: called back"):
        check_no_withdrawal(str(tmp_path / "results"))
    other = run_script("withdraw.py", "--why", "x", "--keys", "0" * 32, cwd=tmp_path)
    assert other.returncode == 2 and "another withdrawal was interrupted" in other.stderr
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    with pytest.raises(OperatorError, match="Snakemake works here, or was killed"):
        check_alone(tmp_path)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "withdrawals.jsonl").write_text("{")
    with pytest.raises(DataError, match="no record of withdrawals"):
        read_record(tmp_path / "withdrawals.jsonl")
