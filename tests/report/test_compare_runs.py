"""Runs compared: at the same tokens, by validation set, and in what differs."""

import json
from pathlib import Path

import pytest

from pages import Page
from pretrain_llama.configuration import load_run
from pretrain_llama.errors import ConfigError, OperatorError
from pretrain_llama.files import write_json
from pretrain_llama.mixture.mixture import Mixture, SampledShard, TrainingLength
from pretrain_llama.names import parse_counted
from pretrain_llama.report.comparison import as_text, page
from pretrain_llama.report.runs import common_tokens, differences, read_runs
from project import run_script

NAME = "{}_split_0000_text_document_dc=1_sc=1_tc=1000"
TRAINING = {"iterations": 30, "sequence_length_tokens": 8, "micro_batch_size_sequences": 1}
TRAINING |= {"global_batch_size_sequences": 4, "precision": "fp32", "learning_rate": 0.001}


def make_run(folder: Path, loss: float, steps: int, evaluations: list[dict[str, float]], rate: float = 0.001) -> Path:
    """Write what is compared of a run: a log whose loss falls from a number, evaluations at its halves."""
    run = {"tokenizer": "toy", "checkpoint": "toy-llama", "training": TRAINING | {"learning_rate": rate}}
    write_json(folder / "run.yaml", run)
    phase = {"iteration": 0, "consumed": 0, "drawn": {}, "identity": {"training": load_run(folder)["training"]}}
    write_json(folder / "output/phases.json", [phase])
    write_json(folder / "manifest.json", {"identity": {"tokenizer": "toy.01234567", "checkpoint": "0123456789abcdef"}})
    shards = [SampledShard(parse_counted(NAME.format(name)), 1, float("inf"), 0.5, 60) for name in ("en_b_t", "ar_n_d")]
    mixture = Mixture("toy.01234567", TrainingLength(120, 8), shards, [], [])
    write_json(folder / "mixture/probabilities.json", mixture.to_json())
    figures = {"learning_rate": rate, "gradient_norm": 1.0, "batch_sequences": 4, "tokens_per_second": 50.0}
    figures |= {"step_seconds": 360.0, "skipped_steps": 0, "rewinds": 0}
    lines = [
        {"iteration": n, "loss": loss - n / 10, "consumed_tokens": 32 * n, "trained_tokens": 32 * n} | figures
        for n in range(1, steps + 1)
    ]
    (folder / "output/log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = [
        {"iteration": 10 * n, "consumed_tokens": 320 * n, "loss": losses, "perplexity": losses}
        for n, losses in enumerate(evaluations)
    ]
    (folder / "output/validation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in found))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two runs, the second shorter, with another rate, and a validation set less."""
    first = [{"en_b": 9.0, "ar_n": 8.0}, {"en_b": 7.0, "ar_n": 6.0}, {"en_b": 1.0, "ar_n": 1.0}]
    return [
        make_run(tmp_path / "first", 9.0, 20, first),
        make_run(tmp_path / "second", 8.0, 10, [{"en_b": 9.0}, {"en_b": 6.5}], 0.003),
    ]


def test_losses_are_compared_after_the_same_tokens(folders: list[Path], tmp_path: Path) -> None:
    runs = read_runs(folders)
    assert common_tokens(runs) == 320
    assert [run.loss(320) for run in runs] == pytest.approx([8.45, 7.45]), "the mean of steps 1 to 10"
    assert ("training.learning_rate", "0.001", "0.003") in differences(runs)
    assert not any("share" in row[0] or "tokenizer" in row[0] for row in differences(runs)), "these are the same"
    text = as_text(runs)
    for line in (["training", "8.4500", "7.4500", "-1.0000"], ["en_b", "7.0000", "6.5000", "-0.5000"]):
        assert line in [row.split() for row in text.splitlines()]
    assert ["ar_n", "6.0000", "—", "—"] in [row.split() for row in text.splitlines()]
    assert "10 of 30" in text and "20 of 30" in text
    (tmp_path / "page.html").write_text(page(runs))
    shown = Page(tmp_path / "page.html")
    shown.check_it_stands_alone()
    titles = {"Loss", "Validation, en b", "Validation, ar n", "Learning rate", "Gradient norm", "Throughput"}
    assert titles <= set(shown.texts) and "MFU" not in shown.texts
    assert ["training.learning_rate", "0.001", "0.003"] in shown.rows


def test_a_run_whose_first_step_took_more_has_no_loss_there(folders: list[Path]) -> None:
    log = folders[1] / "output/log.jsonl"
    log.write_text(
        log.read_text().splitlines(keepends=True)[0].replace('"consumed_tokens": 32', '"consumed_tokens": 16')
    )
    runs = read_runs(folders)
    assert common_tokens(runs) == 16
    assert ["training", "—", "7.9000", "—"] in [row.split() for row in as_text(runs).splitlines()]


def test_runs_that_are_alike_and_of_one_name(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / part / "run", 9.0, 3, []) for part in ("a", "b")]
    runs = read_runs(folders)
    assert [run.name for run in runs] == list(map(str, folders))
    assert "settings and data do not differ" in as_text(runs) and "Nothing, in settings and data." in page(runs)


def test_what_cannot_be_compared_is_named(folders: list[Path], tmp_path: Path) -> None:
    for few in (folders[:1], [folders[0], folders[0]]):
        with pytest.raises(ConfigError, match="two runs or more"):
            read_runs(few)
    (folders[1] / "output/log.jsonl").unlink()
    with pytest.raises(OperatorError, match=r"nothing was trained yet\n  where: .*second\n  next:  train it: bash"):
        read_runs(folders)
    result = run_script("compare_runs.py", folders[0], tmp_path / "none")
    assert result.returncode == 2 and "manifest.json is missing" in result.stderr


def test_the_program_prints_tables_and_writes_a_page(folders: list[Path], tmp_path: Path) -> None:
    result = run_script("compare_runs.py", *folders, "--page", tmp_path / "compared.html")
    assert result.returncode == 0, result.stderr
    assert "what differs" in result.stdout and "Runs compared: first, second" in Page(tmp_path / "compared.html").texts
