"""make clean and make distclean: what they delete, and what only a person may."""

import shutil
import subprocess
from pathlib import Path

import pytest

from project import ROOT, Result

KEPT = (
    "results/runs/tiny/output/checkpoints/iter_0000006/common.pt",
    "results/checkpoints/toy-llama_tp=1_pp=1/release/common.pt",
    "results/expansions/toy.01234567/llama/model.safetensors",
    "results/plan/en_books_tales.json",
    "results/sample-0.01/runs/tiny/output/checkpoints/iter_0000006/common.pt",
    "resources/demo/vendor/en_books/a.jsonl",
)
MADE_AGAIN = (
    "results/shards/en_books_tales_split_0000.jsonl",
    "results/tokenized/toy.01234567/en_books_tales_split_0000_text_document.bin",
    "results/sample-0.01/shards/en_books_tales_split_0000.jsonl",
    "results/report.html",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (*KEPT, *MADE_AGAIN):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def make(folder: Path, target: str, answer: str = "") -> Result:
    return subprocess.run(["make", target], cwd=folder, input=answer, capture_output=True, text=True)


def test_clean_deletes_no_checkpoint_and_no_vendor_file(folder: Path) -> None:
    assert make(folder, "clean").returncode == 0
    assert [name for name in KEPT if not (folder / name).exists()] == []
    assert [name for name in MADE_AGAIN if (folder / name).exists()] == []


def test_distclean_asks(folder: Path) -> None:
    for answer in ("", "\n", "yes\n"):
        refused = make(folder, "distclean", answer)
        assert refused.returncode and "nothing is deleted" in refused.stdout
    assert all((folder / name).exists() for name in (*KEPT, *MADE_AGAIN))
    assert make(folder, "distclean", "delete\n").returncode == 0
    assert not (folder / "results").exists() and not (folder / "resources").exists()
