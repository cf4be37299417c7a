"""The status that a person asks for: what is there, what is pending, what failed and why."""

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
    assert "run tiny: finished, 6 iterations, loss " in shown
    assert "the newest Snakemake here ended: .snakemake/log/" in shown


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
