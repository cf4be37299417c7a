"""The sums of the documents: those of every hop, or an error that says where they do not add up."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pretrain_llama.files import read_json, write_json
from pretrain_llama.tokenization.indexed import IndexedReader
from project import PREFIX, SHARD, Project, Result, deliver, jsonl, merge_shard, run_script, tokenize_shard

SUMMED = ("lines", "documents", "held_out_documents", "blank", "tokens", "held_out_tokens")


def check(plans: list[Path], shards: Path, tokenized: Path, output: Path, cwd: Path | None = None) -> Result:
    """Run check_conservation.py; the signature is in the folder of the pairs."""
    folders = ["--shards", shards, "--tokenized", tokenized, "--signature", tokenized / "data_signature.json"]
    return run_script("check_conservation.py", "--plans", *plans, *folders, "--output", output, cwd=cwd)


def test_every_line_is_in_the_sums_once(tmp_path: Path, tokenizer_model: Path) -> None:
    texts = jsonl([f"A tale of {number} ships." for number in range(40)])
    plain = deliver(tmp_path / "a.jsonl", b"\n" + texts + b"{}\n[]\n \nbroken")
    compressed = deliver(tmp_path / "b.jsonl.gz", texts + b'{"text": ""}\n')
    assert merge_shard(tmp_path, plain, compressed).returncode == 0
    divided = ["--held-out-fraction", 0.25, "--max-rejected-fraction", 0.5]
    assert tokenize_shard(tmp_path, tokenizer_model, *divided).returncode == 0
    (tmp_path / "merge.json").rename(tmp_path / f"{SHARD}.receipt.json")
    plans, signature = [tmp_path / "plan.json"], tmp_path / "data_signature.json"
    signed = run_script("sign_data.py", "--plans", *plans, "--tokenized", tmp_path, "--output", signature)
    assert signed.returncode == 0, signed.stderr
    result = check(plans, tmp_path, tmp_path, tmp_path / "sums.json")
    assert result.returncode == 0, result.stderr
    trained, held_out = IndexedReader(tmp_path / PREFIX), IndexedReader(tmp_path / f"{SHARD}_held_out_document")
    assert trained.documents + held_out.documents == 80 and held_out.documents > 0
    sums = read_json(tmp_path / "sums.json")
    assert sums["total"] == {
        "files": 2,
        "shards": 1,
        "lines": 86,
        "documents": trained.documents,
        "held_out_documents": held_out.documents,
        "duplicates": 0,
        "duplicate_tokens": 0,
        "withdrawn": 0,
        "blank": 2,
        "rejected": {"bad_json": 1, "empty": 1, "no_text": 2},
        "tokens": trained.tokens,
        "held_out_tokens": held_out.tokens,
    }
    assert sums["corpora"] == {"en_books_tales": sums["total"]}


def test_the_sums_are_of_all_shards_by_corpus_and_in_all(built: Project, tmp_path: Path) -> None:
    results = built.folder / "results"
    tokenized = next((results / "tokenized").iterdir())
    plans = sorted((results / "plan").iterdir())
    assert check(plans, results / "shards", tokenized, tmp_path / "sums.json", cwd=built.folder).returncode == 0
    sums = read_json(tmp_path / "sums.json")
    for corpus, row in [*sums["corpora"].items(), ("", sums["total"])]:
        receipts = [read_json(path) for path in tokenized.glob(f"{corpus}*.receipt.json")]
        assert row["shards"] == len(receipts) > 0
        assert {key: row[key] for key in SUMMED} == {key: sum(one[key] for one in receipts) for key in SUMMED}
    assert (sums["total"]["files"], sums["total"]["lines"]) == (2, 400)


def spoil_receipt(path: Path, **changes: object) -> None:
    write_json(path, read_json(path) | changes)


def lose_bytes(paths: dict[str, Path]) -> None:
    """Take a byte less of a vendor file, and say so in both receipts alike."""
    merged = read_json(paths["merge"])
    ranges = [part | {"bytes": part["bytes"] - 1} for part in merged["ranges"]]
    spoil_receipt(paths["merge"], ranges=ranges, bytes=merged["bytes"] - 1)
    spoil_receipt(paths["tokens"], jsonl_bytes=merged["bytes"] - 1)


def plan_twice(paths: dict[str, Path]) -> None:
    """Let the second shard begin before the first one ends."""
    planned = read_json(paths["plan"])
    planned["shards"][1]["ranges"][0]["start"] -= 1
    write_json(paths["plan"], planned)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda p: spoil_receipt(p["merge"], blake3="0"), "bytes were merged into en_books_tales_split_0000"),
        (lambda p: spoil_receipt(p["merge"], ranges=[]), "en_books_tales_split_0000 was merged from other ranges"),
        (lambda p: spoil_receipt(p["merge"], bytes=1), "a receipt of en_books_tales_split_0000 does not add up"),
        (lambda p: spoil_receipt(p["merge"], lines=1), "a receipt of en_books_tales_split_0000 does not add up"),
        (lambda p: spoil_receipt(p["tokens"], documents=1), "a receipt of en_books_tales_split_0000 does not add up"),
        (lambda p: spoil_receipt(p["tokens"], tokens=1), "the .idx of en_books_tales_split_0000 counts"),
        (lambda p: p["held_out"].write_bytes(b""), "the .idx of what is held out of en_books_tales_split_0000 counts"),
        (lambda p: p["rejected"].write_text("{}\n"), "0 lines of en_books_tales_split_0000 were rejected, 1 are in"),
        (lambda p: write_json(p["signature"], read_json(p["signature"])[1:]), "the signature lists 3 shards"),
        (
            lambda p: write_json(p["plan"], read_json(p["plan"]) | {"shards": read_json(p["plan"])["shards"][:-1]}),
            "of vendor/en_books_tales/a.jsonl are not planned",
        ),
        (plan_twice, "of vendor/en_books_tales/a.jsonl are planned twice or not at all"),
        (lose_bytes, "bytes of vendor/en_books_tales/a.jsonl were merged"),
    ],
)
def test_a_sum_that_does_not_hold_fails_the_workflow(copy: Project, spoil: Callable, problem: str) -> None:
    tokenized = next((copy.folder / "results" / "tokenized").iterdir())
    shard = "en_books_tales_split_0000"
    paths = {
        "plan": copy.folder / "results" / "plan" / "en_books_tales.json",
        "merge": copy.folder / "results" / "shards" / f"{shard}.receipt.json",
        "tokens": tokenized / f"{shard}_text_document.receipt.json",
        "held_out": tokenized / f"{shard}_held_out_document.bin",
        "rejected": tokenized / f"{shard}_text_document.rejected.jsonl",
        "signature": tokenized / "data_signature.json",
    }
    places = [sorted(paths["plan"].parent.iterdir()), paths["merge"].parent, tokenized, copy.folder / "sums.json"]
    assert check(*places, cwd=copy.folder).returncode == 0
    (copy.folder / "sums.json").unlink()
    spoil(paths)
    result = check(*places, cwd=copy.folder)
    assert result.returncode == 2
    assert problem in result.stderr
    assert "data error: the documents do not add up" in result.stderr
    assert not (copy.folder / "sums.json").exists()
