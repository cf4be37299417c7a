"""Certificates in a project: made before the first shard; finished shards of earlier versions stay, and are named."""

import json
import shutil
from pathlib import Path

import pytest

from pretrain_llama.files import read_json, write_json
from project import ROOT, Project, jsonl, run_script, train_tokenizer
from trained import sentencepiece_model

LACKING = ("certificate", "by_reference", "frame")  # in receipts of version 0.3.0


@pytest.fixture(scope="module")
def normalizing_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("normalizing") / "tokenizer.model"
    return train_tokenizer(path, normalization_rule_name="nmt_nfkc", remove_extra_whitespaces=False)


@pytest.fixture
def old(tmp_path: Path, normalizing_model: Path, llama: Path) -> Project:
    """A project whose shards version 0.3.0 has finished: by its rules, which knew of no certificates."""
    (tmp_path / "old").mkdir()
    project = Project(tmp_path / "old", normalizing_model, llama)
    project.config["shard_size_bytes"] = 1 << 20
    project.save()
    rules = project.folder / "rules"
    rules.unlink()
    shutil.copytree(ROOT / "rules", rules)
    tokenize = (rules / "tokenize.smk").read_text()
    (rules / "tokenize.smk").write_text(tokenize.replace("        certificate=ancient(certificate),\n", ""))
    assert project.pending(*targets(project)) == {"copy_tokenizer": 1, "merge_shard": 2, "tokenize_shard": 2}
    made = project.snakemake(*targets(project))
    assert made.returncode == 0, made.stdout + made.stderr
    for path in receipts(project):
        write_json(path, {key: value for key, value in read_json(path).items() if key not in LACKING})
    shutil.rmtree(rules)
    rules.symlink_to(ROOT / "rules")
    return project


def identity(project: Project) -> str:
    """Of its tokenizer, as a dry-run names it."""
    shown = project.snakemake("--dry-run", "--verbose", "data").stdout
    return next(word.split("/")[2] for word in shown.split() if word.startswith("results/tokenized/toy."))


def targets(project: Project) -> list[str]:
    """The receipts of all shards."""
    shards = [f"{corpus}_split_0000" for corpus in ("en_books_tales", "ar_news_daily")]
    shards += ["en_books_tales_split_0001"] * (project.folder / "vendor" / "en_books_tales" / "b.jsonl").exists()
    return [f"results/tokenized/{identity(project)}/{shard}_text_document.receipt.json" for shard in shards]


def receipts(project: Project) -> list[Path]:
    return sorted(project.folder.glob("results/tokenized/*/*.receipt.json"))


def test_finished_shards_of_an_earlier_version_stay_and_are_named_where_they_may_be_wrong(old: Project) -> None:
    first = targets(old)
    assert old.pending(*first) == {}, "nothing new"
    shutil.copytree(old.folder / ".snakemake", old.folder / "kept")
    shutil.rmtree(old.folder / ".snakemake")
    assert old.pending(*first) == {}, "with lost metadata"
    shutil.rmtree(old.folder / ".snakemake")
    (old.folder / "kept").rename(old.folder / ".snakemake")

    old.vendor("en_books_tales/b.jsonl", jsonl(["Tie\u0302\u0301ng Vie\u0323\u0302t", "A later tale."]))
    one_more = {"certify_tokenizer": 1, "merge_shard": 1, "tokenize_shard": 1}
    assert old.pending(*targets(old)) == one_more
    made = old.snakemake(*targets(old))
    assert made.returncode == 0, made.stdout + made.stderr
    later = read_json(receipts(old)[-1])
    assert (later["by_reference"], later["engine"], later["warning"]) == (1, "gigatoken 0.10.0", None)

    certificate = read_json(next(old.folder.glob("results/tokenizers/*/parity.json")))
    assert certificate["made_without"] == ["ar_news_daily_split_0000", "en_books_tales_split_0000"]
    dry_run = old.snakemake("--dry-run", *targets(old))
    assert "2 shards were made before it had a certificate. They have wrong ids where a text holds" in dry_run.stderr
    assert "ar_news_daily_split_0000, en_books_tales_split_0000\n  next:  audit_indexed.py --jsonl" in dry_run.stderr
    assert old.pending(*targets(old)) == {}
    status = run_script("show_status.py", cwd=old.folder).stdout
    assert "2 shards were made before it had a certificate" in status

    receipts(old)[0].unlink()
    assert old.pending(*targets(old)) == {"tokenize_shard": 1}
    assert old.snakemake(*targets(old)).returncode == 0
    assert read_json(receipts(old)[0])["certificate"] == later["certificate"]
    dry_run = old.snakemake("--dry-run", *targets(old))
    assert "1 shards were made before it had a certificate" in dry_run.stderr
    assert old.pending(*targets(old)) == {}


def test_another_certificate_makes_no_shard_anew(copy: Project) -> None:
    certificate = next(copy.folder.glob("results/tokenizers/*/parity.json"))
    written = certificate.read_text()
    assert copy.pending("--forcerun", "certify_tokenizer", "--", "data") == {"certify_tokenizer": 1}
    for record in (copy.folder / ".snakemake" / "metadata").iterdir():
        if '"rule": "certify_tokenizer"' in (kept := record.read_text()):
            record.write_text(kept.replace("gigatoken 0.10.0", "gigatoken 0.9.0"))
            break
    assert copy.pending("data") == {"certify_tokenizer": 1}, "of other engines"
    assert certificate.read_text() == written


def test_a_certificate_of_another_version_is_made_again_and_stops_nothing(copy: Project) -> None:
    certificate = next(copy.folder.glob("results/tokenizers/*/parity.json"))
    written = read_json(certificate)
    write_json(certificate, written | {"format": 1, "alone": "said by another version"})
    for record in (copy.folder / ".snakemake" / "metadata").iterdir():
        if '"rule": "certify_tokenizer"' in record.read_text():
            kept = read_json(record)
            write_json(record, kept | {"params": [one for one in kept["params"] if one != str(written["format"])]})
    assert copy.pending("data") == {"certify_tokenizer": 1}
    made = copy.snakemake("data")
    assert made.returncode == 0 and "said by another version" not in made.stderr
    assert read_json(certificate)["format"] == written["format"]


@pytest.mark.parametrize("is_certified", [False, True])
def test_a_tokenizer_that_the_reference_encodes_alone_is_told_beforehand(project: Project, is_certified: bool) -> None:
    model = sentencepiece_model(project.folder / "slow.model", model_type="unigram", hard_vocab_limit=False)
    project.config["tokenizers"]["toy"] = {"model": str(model)}
    project.save()
    if is_certified:
        folder = project.folder / "results" / "tokenizers" / identity(project)
        options = ["--tokenizer", folder.name, "--tokenizer-model", model, "--output", folder / "parity.json"]
        assert run_script("certify_tokenizer.py", *options).returncode == 0
        assert json.loads((folder / "parity.json").read_text())["alone"]
    told = project.snakemake("--dry-run", "data").stderr
    why = "gigatoken cannot load the model: only BPE sentencepiece models are supported"
    assert f"the reference engine encodes all documents, which is slower: {why}" in told
