"""From a store to the machine that trains: the results are fetched, and the workflow goes on with them."""

import re
import shutil
import sys
from pathlib import Path

import pytest

import fetch_results
from azure_emulator.service import EmulatedAzure
from pretrain_llama import files
from pretrain_llama.errors import OperatorError
from pretrain_llama.stores import blob_service
from project import Project, Result, jsonl, run_script
from stored import content_of, upload

HERE = ["--profile", "azure-batch", "--executor", "local", "--cores", "2", "--retries", "0"]


@pytest.fixture
def stored(azure: EmulatedAzure, project: Project) -> Project:
    """A project whose shards one machine has made in a store."""
    upload(azure, "tales/a.jsonl", jsonl([f"A tale of {n} ships, and of the sea." for n in range(300)]))
    project.corpora(["en", "books", "tales", "az://vendor/tales/*.jsonl", "text"])
    project.choose("data_ratio.json", {"books": 1})
    project.choose("lang_prob.json", {"en": 1})
    project.save()
    made = project.snakemake(*HERE)
    assert made.returncode == 0, made.stderr
    assert "Where they are to be trained on: python scripts/fetch_results.py" in made.stdout
    return project


def fetch(project: Project, *args: object) -> Result:
    return run_script("fetch_results.py", *args, cwd=project.folder)


def in_store(azure: EmulatedAzure, paths: list[Path]) -> list[bytes]:
    names = ["/".join(path.parts[path.parts.index("results") :]) for path in paths]
    return [content_of(azure, f"az://results/pretrain/{name}") for name in names]


def test_what_was_made_in_a_store_is_trained_on_here(azure: EmulatedAzure, stored: Project, tmp_path: Path) -> None:
    here = stored.copied_to(tmp_path / "here")
    for made in ("results", ".snakemake"):
        shutil.rmtree(here.folder / made)
    fetched = fetch(here)
    assert fetched.returncode == 0, fetched.stderr
    assert re.fullmatch(r"\d+ files of [\d,]+ bytes fetched, 0 were here\n", fetched.stdout)
    pairs = sorted(here.folder.glob("results/indexed/*/*.bin"))
    assert len(pairs) == 3
    assert not list(here.folder.glob("results/shards/*.jsonl")), "no training reads them"
    pending = here.pending()
    assert pending["launch_training"] == pending["check_mixture"] == pending["check_held_out"] == 1
    assert not {"merge_shard", "tokenize_shard", "sign_data", "name_indexed", "join_held_out"} & pending.keys()
    written = here.snakemake("results/runs/tiny/manifest.json")
    assert written.returncode == 0, written.stderr
    assert [path.name for path in sorted(here.folder.glob("results/runs/tiny/data/*.bin"))] == [p.name for p in pairs]

    pairs[0].write_bytes(pairs[0].read_bytes()[:-2])  # as if it had been cut off
    upload(azure, "tales/b.jsonl", jsonl([f"Another tale, of {n} islands." for n in range(100)]))
    assert stored.snakemake("data", *HERE).returncode == 0
    before = len(pairs)
    fetched = fetch(here)
    assert fetched.returncode == 0, fetched.stderr
    pairs = sorted(here.folder.glob("results/indexed/*/*.bin"))
    assert len(pairs) > before and [pair.read_bytes() for pair in pairs] == in_store(azure, pairs)
    assert here.pending("data").keys() == {"plot_documents", "check_held_out"}
    assert fetch(here).stdout.startswith("0 files of 0 bytes fetched, ")


def test_without_a_target_only_what_runs_train_on_is_made(azure: EmulatedAzure, project: Project) -> None:
    upload(azure, "tales/a.jsonl", jsonl(["A tale."] * 10))
    project.corpora(["en", "books", "tales", "az://vendor/tales/*.jsonl", "text"])
    project.choose("data_ratio.json", {"books": 1})
    project.choose("lang_prob.json", {"en": 1})
    project.config["tokenizers"]["spare"] = project.config["tokenizers"]["toy"]
    project.save()
    assert project.pending(*HERE)["tokenize_shard"] == 1
    assert project.pending("data", *HERE)["tokenize_shard"] == 2


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(azure, "pretrain/results/indexed/toy/a.bin", b"12", "results")
    usage = type(shutil.disk_usage(tmp_path))(total=10**9, used=10**9, free=1)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(sys, "argv", ["fetch_results.py", "--output", str(tmp_path / "results")])
    blob_service.service.cache_clear()
    with pytest.raises(OperatorError, match=r"GB to write, 0.0 GB free"):
        fetch_results.main()
    assert not list((tmp_path / "results").iterdir())


def test_other_shards_are_not_mixed_up(azure: EmulatedAzure, project: Project) -> None:
    upload(azure, "pretrain/results/plan/en_books_tales.json", b'{"files": {}, "shards": [{"bytes": 1}]}', "results")
    plan = project.folder / "results" / "plan" / "en_books_tales.json"
    plan.parent.mkdir(parents=True)
    plan.write_text('{"files": {}, "shards": [{"bytes": 2}]}')
    refused = fetch(project)
    assert refused.returncode == 2
    assert "the shards that are planned here are not those of az://results/pretrain/results/plan" in refused.stderr
    assert '"bytes": 2' in plan.read_text()


def test_a_store_without_shards_is_told(azure: EmulatedAzure, project: Project) -> None:
    upload(azure, "elsewhere/results/logs/a.log", b"no shard", "results")
    for store in ("az://results/elsewhere", "az://results/nowhere"):
        refused = fetch(project, "--store", store)
        assert (refused.returncode, f"where: {store}/results/" in refused.stderr) == (2, True), refused.stderr
    assert not (project.folder / "results").exists()
    assert "--store" in run_script("fetch_results.py", cwd=project.folder).stderr
