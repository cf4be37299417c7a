"""What a training was trained on, as all programs tell it: over phases, without what rewinds and skips left out."""

import json
import math
from pathlib import Path

from pages import Page
from pretrain_llama.files import read_json, write_json
from pretrain_llama.mixture.mixture import Mixture, SampledShard, TrainingLength
from pretrain_llama.names import parse_counted
from project import run_script
from show_status import run_line
from spoilt import train_on_poison
from trainings import Training, copied_with_output, start

LENGTH = 32  # tokens of a sequence


def trained_in_two_phases(training: Training, folder: Path) -> Training:
    """Train 8 iterations of 8 sequences, with a rewind of three, and 12 of 4, one of them skipped, on two processes."""
    copy = training.copied(folder, parallel={"data": 2}, operation={"on_not_finite": "rewind"})
    code, printed = start(train_on_poison, copy.folder, outputs=folder.with_name("first"), processes=2).wait()
    assert code == 0 and "WARNING: rewind: not finite at iteration 6" in printed, printed
    longer = {"iterations": 20, "global_batch_size_sequences": 4}
    copy.change(training=longer, operation={"on_not_finite": "skip"}, on_change="new_phase")
    names = [parse_counted(name) for name in read_json(copy.folder / "mixture" / "probabilities.json")["probabilities"]]
    sampled = [SampledShard(name, 1.0, math.inf, 1 / len(names), 20) for name in names]
    copy.mix(**Mixture(None, TrainingLength(40, LENGTH), sampled, [], []).to_json())
    code, printed = start(train_on_poison, copy.folder, 20, outputs=folder.with_name("second"), processes=2).wait()
    assert code == 0 and "WARNING: skip: not finite at iteration 14" in printed, printed
    return copy


def test_all_programs_tell_the_same_tokens(training: Training, tmp_path: Path) -> None:
    copy = trained_in_two_phases(training, tmp_path / "runs" / "mine")
    trained, left_out = (8 * 8 + 11 * 4) * LENGTH, (3 * 8 + 4) * LENGTH

    result = run_script("estimate_run.py", copy.folder, "--json")
    figures = json.loads(result.stdout)
    assert (figures["tokens"], figures["tokens_trained"], figures["iterations_done"]) == (trained, trained, 20)
    assert f"of which trained on {trained:,}" in " ".join(run_script("estimate_run.py", copy.folder).stdout.split())

    sums = {"lines": 46, "blank": 0, "rejected": {}, "held_out_documents": 0, "documents": 46, "shards": 3, "tokens": 1}
    write_json(tmp_path / "sums.json", {"total": sums, "corpora": {"en_books_tales": sums, "ar_news_daily": sums}})
    result = run_script("summarize_run.py", "--conservation", tmp_path / "sums.json", "--run-folder", copy.folder)
    assert result.returncode == 0, result.stderr
    summary = read_json(copy.folder / "summary.json")
    assert (summary["tokens_trained"], summary["tokens_consumed"]) == (trained, trained + left_out)
    assert sum(row["trained_tokens"] for row in summary["corpora"]) == trained
    assert sum(row["consumed_tokens"] for row in summary["corpora"]) == trained + left_out
    told = f"trained on {trained:,} tokens; rewinds and skipped steps left out {left_out:,} more"
    assert told in (copy.folder / "summary.txt").read_text()

    run_script("plot_training.py", "--run-folder", copy.folder, "--output", tmp_path / "training.html")
    page = Page(tmp_path / "training.html")
    rows = {row["domain"]: row for row in summary["corpora"]}
    shown = {row[0]: [int(cell.replace(",", "")) for cell in row[1:4]] for row in page.rows if len(row) == 5 and row[0]}
    for name, domain in {"en_books": "books", "ar_news": "news"}.items():
        consumed, of_it = rows[domain]["consumed_tokens"], rows[domain]["trained_tokens"]
        assert shown[name] == [consumed, consumed - of_it, of_it]
    assert {"tokens trained on", "tokens that these left out"} <= set(page.texts)

    done = f"iteration 20 of 20, loss {copy.losses()[-1]:.3f}, trained on {trained:,} of {trained:,} tokens"
    (copy.output / "finished.json").unlink()
    assert run_line("mine", str(tmp_path)) == f"run mine: {done}"


def test_a_run_that_changed_is_estimated_as_it_will_go_on(training: Training, tmp_path: Path) -> None:
    def tokens(copy: Training) -> int:
        return json.loads(run_script("estimate_run.py", copy.folder, "--json").stdout)["tokens"]

    changed = copied_with_output(training, tmp_path / "runs" / "mine")
    (changed.output / "finished.json").unlink()
    assert tokens(changed) == 64 * LENGTH
    changed.change(training={"iterations": 12, "global_batch_size_sequences": 4}, on_change="new_phase")
    assert tokens(changed) == (64 + 4 * 4) * LENGTH
    assert f"trained on {64 * LENGTH:,} of {80 * LENGTH:,} tokens" in run_line("mine", str(tmp_path))
    changed.change(on_change="restart")
    assert tokens(changed) == 12 * 4 * LENGTH


def test_a_run_whose_mixture_changed_is_told_as_one_that_begins_again(training: Training, tmp_path: Path) -> None:
    copy = copied_with_output(training, tmp_path / "runs" / "mine", on_change="restart")
    (copy.output / "finished.json").unlink()
    assert f"trained on {64 * LENGTH:,} of {64 * LENGTH:,} tokens" in run_line("mine", str(tmp_path))
    manifest = read_json(copy.folder / "manifest.json")
    write_json(copy.folder / "manifest.json", manifest | {"identity": manifest["identity"] | {"tokenizer": "another"}})
    assert run_line("mine", str(tmp_path)) == "run mine: ready to train"
    write_json(copy.folder / "manifest.json", manifest)
    assert run_line("mine", str(tmp_path)) != "run mine: ready to train"
    names = read_json(copy.folder / "mixture" / "probabilities.json")["probabilities"]
    copy.mix(dict(zip(names, [0.7, 0.2, 0.1], strict=True)))
    assert run_line("mine", str(tmp_path)) == "run mine: ready to train"
    assert json.loads(run_script("estimate_run.py", copy.folder, "--json").stdout)["tokens_trained"] == 0
    assert "the earlier output is kept as" in copy.train(), "and so it does"
