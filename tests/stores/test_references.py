"""What a merge inside the store leaves on the machine that ran it."""

import json
from pathlib import Path

import pytest

from azure_emulator.service import EmulatedAzure
from pretrain_llama.stores import references
from pretrain_llama.tokenization.indexed import read_counts
from project import PREFIX, SHARD, jsonl, run_script, tokenize_shard
from stored import content_of, plan_blobs, upload


def merge_to_reference(azure: EmulatedAzure, folder: Path, *texts: str) -> Path:
    """Merge a blob by the program, inside the store; return what it leaves here."""
    upload(azure, "tales/a.jsonl", jsonl(list(texts)))
    plan_blobs(folder, "az://vendor/tales/*")
    merged = run_script(
        "merge_shard.py",
        *("--plan", folder / "plan.json", "--shard", SHARD, "--output", folder / "shard.jsonl"),
        *("--store", f"az://results/{SHARD}.jsonl", "--receipt", folder / "merge.json"),
    )
    assert merged.returncode == 0, merged.stderr
    return folder / "shard.jsonl"


def test_the_program_leaves_a_reference(azure: EmulatedAzure, tmp_path: Path) -> None:
    reference = json.loads(merge_to_reference(azure, tmp_path, "one", "two").read_text())
    assert reference["lies_at"] == f"az://results/{SHARD}.jsonl"
    assert reference["etag"] == json.loads((tmp_path / "merge.json").read_text())["etag"]
    assert content_of(azure, reference["lies_at"]) == jsonl(["one", "two"])


def test_a_reference_is_tokenized_where_it_was_made(
    azure: EmulatedAzure, tmp_path: Path, tokenizer_model: Path
) -> None:
    """Snakemake takes it for the shard on the machine that merged it."""
    shard = merge_to_reference(azure, tmp_path, "one", "two")
    reference = shard.read_bytes()
    tokenized = tokenize_shard(tmp_path, tokenizer_model)
    assert tokenized.returncode == 0, tokenized.stderr
    assert shard.read_bytes() == jsonl(["one", "two"])
    assert read_counts(tmp_path / PREFIX).documents == 2
    upload(azure, f"{SHARD}.jsonl", jsonl(["another run's"]), "results")
    shard.write_bytes(reference)
    tokenized = tokenize_shard(tmp_path, tokenizer_model)
    assert tokenized.returncode != 0
    assert f"az://results/{SHARD}.jsonl" in tokenized.stderr and "changed or vanished" in tokenized.stderr
    assert shard.read_bytes() == reference


@pytest.mark.parametrize("content", [b"", b"[]", b'{"lies_at": "az://results/a", "text": "one"}', b"x" * 5000])
def test_a_shard_is_no_reference(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shard.jsonl").write_bytes(content)
    references.resolve(tmp_path / "shard.jsonl")
    assert (tmp_path / "shard.jsonl").read_bytes() == content


def test_a_vocabulary_is_enlarged_by_texts_that_lie_in_a_store(
    azure: EmulatedAzure, tmp_path: Path, tokenizer_model: Path
) -> None:
    texts = [f"The archipelago of {n} islands." for n in range(40)]
    shard = merge_to_reference(azure, tmp_path, *texts).rename(tmp_path / f"{SHARD}.jsonl")
    asked = ["--tokenizer-model", tokenizer_model, "--shards", shard, "--text-keys", "text"]
    asked += ["--languages", "en", "--new-pieces", 3, "--output", tmp_path / "t.model"]
    enlarged = run_script(
        "expand_vocabulary.py", *asked, "--pieces-output", tmp_path / "p.tsv", "--fertility", tmp_path / "f"
    )
    assert enlarged.returncode == 0, enlarged.stderr
    assert shard.read_bytes() == jsonl(texts)
