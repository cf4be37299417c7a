"""The report: the page about the documents, the page about a training, and both in Snakemake's own report."""

import json
import re
import shutil
from pathlib import Path

import pytest

from pages import Page, overflows
from pretrain_llama.files import read_json, write_json
from pretrain_llama.report.training_figures import POINTS, loss_figure
from project import PREFIX, ROOT, SHARD, Project, deliver, jsonl, merge_shard, run_script, tokenize_shard
from trainings import Training


def plot_training(run_folder: Path) -> Page:
    output = run_folder.parent / "training.html"
    result = run_script("plot_training.py", "--run-folder", run_folder, "--output", output)
    assert result.returncode == 0, result.stderr
    return Page(output)


def documents_page(built: Project) -> Path:
    return next(built.folder.glob("results/tokenized/*/documents.html"))


def test_every_document_is_on_the_page_of_documents(built: Project) -> None:
    page = Page(documents_page(built))
    page.check_it_stands_alone()
    sums = read_json(documents_page(built).with_name("conservation.json"))["total"]
    # None is rejected, blank or by the reference.
    counts = (sums["lines"], sums["documents"], sums["held_out_documents"], 0, 0, 0, sums["shards"], sums["files"])
    row = next(row for row in page.rows if row[0] == "all")
    assert row[1] == f"{sums['tokens']:,}"
    assert row[3:] == [f"{count:,}" for count in counts]
    assert {"No line was rejected.", "Of no two vendor files is it known."} <= set(page.texts)
    shards = [row for row in page.rows if row[-1].startswith("vendor/")]
    assert len(shards) == sums["shards"]
    assert sum(int(row[2].replace(",", "")) for row in shards) == sums["lines"]


def test_files_of_the_same_text_are_on_the_page(built: Project, tmp_path: Path) -> None:
    """Those that duplicates: allow let in, or an earlier version."""
    names = [f"vendor/en_books_tales/{name}.jsonl" for name in ("a", "copy", "large", "alike")]
    planned = read_json(built.folder / "results/plan/en_books_tales.json")
    small = planned["files"][names[0]]
    large = small | {"size_bytes": 1 << 20, "fingerprint": "of a large one"}
    planned["files"] = dict(zip(names, (small, small, large, large), strict=True))
    write_json(tmp_path / "plan.json", planned)
    tokenized = documents_page(built).parent
    result = run_script(
        "plot_documents.py", "--plans", "plan.json", "--tokenized", tokenized, "--output", "page.html", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    rows = Page(tmp_path / "page.html").rows
    assert [", ".join(names[:2]), "2", f"{small['size_bytes']:,}", "all of it"] in rows
    assert [", ".join(names[2:]), "2", "1,048,576", "size and ends"] in rows


def test_what_is_rejected_is_shown_by_reason(tmp_path: Path, tokenizer_model: Path) -> None:
    lines = jsonl([f"A tale of {n} ships." for n in range(50)]) + b'broken\n{"text": ""}\n{"text": 3}\nbroken, too\n\n'
    merged = merge_shard(tmp_path, deliver(tmp_path / "a.jsonl", lines))
    assert merged.returncode == 0, merged.stderr
    assert tokenize_shard(tmp_path, tokenizer_model, "--max-rejected-fraction", 1).returncode == 0
    plans = ("--plans", tmp_path / "plan.json", "--tokenized", tmp_path)
    result = run_script("plot_documents.py", *plans, "--output", tmp_path / "documents.html")
    assert result.returncode == 0, result.stderr
    page = Page(tmp_path / "documents.html")
    header = next(row for row in page.rows if "bad_json" in row)
    assert header == ["", "bad_json", "empty", "not_text"]
    assert ["en books", "2", "1", "1"] in page.rows
    row = next(row for row in page.rows if row[0] == "en books")
    assert row[3:] == ["55", "50", "0", "4", "1", "50", "1", "1"], "without a certificate, the reference encodes all"
    assert "Why lines were rejected" in page.texts
    assert any(str(tmp_path / "a.jsonl") in row[-1] for row in page.rows if row[0] == SHARD)


def test_a_shard_without_a_receipt_is_named(tmp_path: Path, tokenizer_model: Path) -> None:
    merge_shard(tmp_path, deliver(tmp_path / "a.jsonl", jsonl(["A tale."])))
    plans = ("--plans", tmp_path / "plan.json", "--tokenized", tmp_path)
    result = run_script("plot_documents.py", *plans, "--output", tmp_path / "documents.html")
    assert result.returncode == 2
    assert f"{PREFIX}.receipt.json" in result.stderr and "run again" in result.stderr


def test_the_page_of_a_training_shows_its_curves_and_where_it_came_from(built: Project) -> None:
    run_folder = built.folder / "results" / "runs" / "tiny"
    page = Page(run_folder / "training.html")
    page.check_it_stands_alone()
    manifest, conversion = read_json(run_folder / "manifest.json"), read_json(run_folder / "checkpoint/conversion.json")
    assert {"6", "iterations", "It has ended. Curves are over the tokens consumed."} <= set(page.texts)
    assert ["tokenizer", manifest["identity"]["tokenizer"]] in page.rows
    assert ["megatron-core", "0.19.2"] in page.rows
    digest = conversion["source"]["files"]["model.safetensors"]
    assert ["model.safetensors", f"SHA-256 {digest[:12]}…"] in page.rows
    assert any(row[0] == "verified" and "bit for bit" in row[1] for row in page.rows)
    assert {"ar_news", "en_books"} <= {row[0] for row in page.rows}, "what was consumed of each domain"
    assert any("A tale of" in text for text in page.texts), "the samples"
    assert ", mean of the last 6 " in (run_folder / "summary.txt").read_text(), "of 6 iterations"


def test_of_a_training_that_goes_on_is_shown_what_there_is(training: Training, tmp_path: Path) -> None:
    run_folder = shutil.copytree(training.folder, tmp_path / "run")
    (run_folder / "output" / "finished.json").unlink()
    page = plot_training(run_folder)
    assert "It has not ended. Curves are over the tokens consumed." in page.texts
    losses = [row for row in page.rows if row[0] in ("ar_news", "en_books") and len(row) == 4]
    assert len(losses) == 2, "the last loss of each validation set"
    shutil.rmtree(run_folder / "output")
    result = run_script("plot_training.py", "--run-folder", run_folder, "--output", tmp_path / "none.html")
    assert result.returncode == 2
    assert "nothing was trained yet" in result.stderr and "launch.sh" in result.stderr


def test_a_long_curve_is_drawn_with_few_points_and_without_steps_that_have_no_number() -> None:
    records = [{"consumed_tokens": 4096.0 * n, "loss": 9 - n / 10_000} for n in range(20_000)]
    records[77]["loss"] = float("nan")
    drawn = loss_figure(records, 6.5)
    curves = re.findall(r'd="([^"]*)"', drawn)
    assert max(curve.count("L") for curve in curves) <= 2 * POINTS + 2
    assert "nan" not in drawn
    assert "unigram entropy" in drawn


@pytest.mark.parametrize("name", ["documents", "mixture", "training"])
def test_no_page_is_wider_than_a_screen(built: Project, name: str) -> None:
    path = next(built.folder.glob(f"results/*/*/{name}.html"))
    assert overflows(path, 390, 1280) == [0, 0], "a wide table scrolls by itself"


def test_snakemakes_report_needs_no_preview(built: Project, tmp_path: Path) -> None:
    result = built.snakemake("--report", str(tmp_path / "report.html"))
    assert result.returncode == 0, result.stderr
    assert "What is pending" not in (tmp_path / "report.html").read_text()


def test_snakemakes_report_holds_the_pages_and_what_is_pending(copy: Project) -> None:
    copy.vendor("en_books_tales/b.jsonl", jsonl(["A new tale, of one ship."]))
    preview = copy.snakemake("--dry-run")
    (copy.folder / "results" / "pending.txt").write_text(preview.stdout)
    files = ("--pending", "results/pending.txt", "--output", "results/overview.html")
    written = run_script("write_overview.py", *files, cwd=copy.folder)
    assert written.returncode == 0, written.stderr
    result = copy.snakemake("--report", "results/report.html", "--report-stylesheet", "docs/report.css")
    assert result.returncode == 0, result.stderr
    report = (copy.folder / "results" / "report.html").read_text()
    for name in ("documents.html", "mixture.html", "training.html"):
        assert name in report
    described = json.loads(re.search(r"var workflow_desc = (\".*\");", report)[1])
    assert "What is pending" in described and "merge_shard" in described and "System Message" not in described
    assert "400 lines of 2 vendor files = " in described and "A tale of" in described and "unigram entropy" in described
    assert described.index("Tokens by language") < described.index("Mixture</h2>") < described.index("The rules</h")
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="?https?:', report), "nothing is fetched"
    assert (ROOT / "docs" / "report.css").read_text() in report
