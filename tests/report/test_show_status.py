"""The status that a person asks for: what is there, what is pending, what failed and why."""

import re
from pathlib import Path

import pytest

from azure_emulator.service import EmulatedAzure
from azure_emulator.subscription import BLOB_HOST
from pretrain_llama import files
from project import Project, run_script


def status(project: Project, *args: str) -> str:
    result = run_script("show_status.py", *args, cwd=project.folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def row(shown: str, name: str) -> list[str]:
    return next(line.replace(",", "").split() for line in shown.splitlines() if line.startswith(name))


def test_of_a_fresh_project_all_is_new(project: Project) -> None:
    shown = status(project)
    assert row(shown, "total") == ["total", *["0"] * 7, "2"]
    assert "pending: 0 shards, 2 vendor files that no plan holds yet" in shown
    assert "run tiny: its folder is not written yet" in shown
    assert "Snakemake has not run here" in shown
    assert not (project.folder / "results").exists()


def test_of_a_built_project_the_sums_add_up(built: Project) -> None:
    shown = status(built)
    planned, merged, tokenized, documents, _, held_out, rejected, new = map(int, row(shown, "total")[1:])
    assert planned == merged == tokenized == 4
    assert documents + held_out == 400 and (rejected, new) == (0, 0)
    assert re.search(r"^run tiny: finished, 6 iterations, loss \d\.\d+, trained on 1,536 tokens$", shown, re.M)
    assert "the newest Snakemake here ended: .snakemake/log/" in shown


def test_a_run_that_lacks_files_hides_no_other(copy: Project) -> None:
    folder = copy.folder / "results" / "runs" / "tiny"
    (folder / "output" / "log.jsonl").unlink()
    assert "run tiny: finished, 6 iterations, no loss is logged" in status(copy)
    run_yaml = (folder / "run.yaml").read_text()
    (folder / "run.yaml").write_text(run_yaml.replace("iterations:", "iteration:"))
    assert "run tiny: unknown key" in status(copy)
    (folder / "run.yaml").unlink()
    assert "run tiny: its folder has no run.yaml" in status(copy)


def test_a_failure_is_shown_with_the_end_of_its_log(project: Project) -> None:
    project.vendor("en_books_tales/b.jsonl", b"broken\n" * 40)
    assert project.snakemake("data").returncode == 1
    shown = status(project)
    assert "failed: tokenize_shard results/tokenized/" in shown
    assert "bad_json" in shown
    assert int(row(shown, "en_books_tales")[1]) > int(row(shown, "en_books_tales")[3])


def test_what_cannot_be_read_is_named(project: Project) -> None:
    (project.folder / "vendor" / "en_books_tales" / "a.jsonl").unlink()
    project.config["tokenizers"] |= {"lost": {"model": "no/tokenizer.model"}}
    project.save()
    shown = status(project)
    assert "matches no file" in shown
    assert "tokenizer lost: tokenizer 'lost' has no model file" in shown


def test_sweeps_and_expansions_are_shown(project: Project) -> None:
    project.config["runs"] = ["tin*", "none*"]
    project.config["expansions"] = {"larger": {"tokenizer": "toy", "languages": ["ar"], "new_pieces": 8}}
    project.save()
    shown = status(project)
    assert "tokenizer larger: no such file\n  where: results/expansions/larger.json" in shown
    assert "runs: no run is called none*" in shown
    project.config["runs"] = ["tin*"]
    project.save()
    files.write_json(project.folder / "results" / "expansions" / "larger.json", {"identity": "larger.01234567"})
    shown = status(project)
    assert "shards of tokenizer larger.01234567\n" in shown
    assert "run tiny: its folder is not written yet" in shown


def test_results_elsewhere_are_those_that_are_shown(copy: Project) -> None:
    (copy.folder / "results").rename(copy.folder / "elsewhere")
    assert "run tiny: finished, 6 iterations" in status(copy, "--results", "elsewhere")
    assert "run tiny: its folder is not written yet" in status(copy)


def test_of_a_store_each_receipt_is_read_once(azure: EmulatedAzure, built: Project, tmp_path: Path) -> None:
    results = built.folder / "results"
    with azure.azurite.client() as client:
        container = client.get_container_client("results")
        for path in [*results.rglob("*.json"), *results.glob("runs/tiny/run.yaml"), *results.rglob("log.jsonl")]:
            container.upload_blob(f"here/{path.relative_to(results)}", path.read_bytes(), overwrite=True)
    azure.traffic.reset()
    shown = status(built, "--results", "az://results/here")
    assert shown == status(built)
    of_runs, certificate, corpora, shards = 9, 1, 2, 4
    orphans = 1 + corpora  # a listing of all, and each plan again
    asked = of_runs + certificate + corpora * (1 + 2) + shards + orphans  # a plan and two listings; receipts
    assert azure.traffic.count(BLOB_HOST).requests == asked


@pytest.mark.parametrize("program", ["show_status.py", "plan_shards.py", "estimate_plan.py"])
def test_a_configuration_that_cannot_be_read_is_told(project: Project, program: str) -> None:
    more = ["--listing", "none.tsv"] if program == "estimate_plan.py" else []
    config = project.folder / "config" / "config.yaml"
    for content, problem in {"runs: [": "no YAML", "runs: []\nruns: []\n": "key 'runs' stands there twice"}.items():
        config.write_text(content)
        result = run_script(program, *more, cwd=project.folder)
        assert (result.returncode, f"configuration error: {problem}" in result.stderr) == (2, True), result.stderr
    config.unlink()
    result = run_script(program, *more, cwd=project.folder)
    assert (result.returncode, "configuration error: no such file" in result.stderr) == (2, True), result.stderr


def test_jobs_of_a_killed_run_are_interrupted(project: Project) -> None:
    log = project.folder / ".snakemake" / "log" / "2026-01-01T000000.000000.snakemake.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        "localrule merge_shard:\n    output: results/shards/a.jsonl, results/shards/a.receipt.json\n    jobid: 7\n"
        "rule merge_shard:\n    output: results/shards/b.jsonl\n    jobid: 8\n"
        "Finished jobid: 8 (Rule: merge_shard)\n"
    )
    assert "interrupted: merge_shard results/shards/a.jsonl\n" in status(project)
    assert "results/shards/b.jsonl" not in status(project)
