"""Every benchmark runs to its end on small inputs, and prints all of its rows; what they say is for a quiet machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from azure_emulator.azurite import Azurite
from project import ROOT, jsonl

TEXTS = {
    "english": ["Once upon a time, in the middle of winter, the flakes of snow were falling."] * 400,
    "code": ["def add(first, second):\n    return first + second\n"] * 400,
    "arabic": ["السَّلَامُ عَلَيْكُمْ وَرَحْمَةُ اللهِ"] * 400,
}
# Arguments, what makes it small, and rows of its tables, their heads among them.
BENCHMARKS = {
    "bench_shards": (["--text", "text", "--scratch", "scratch", "--rounds", "1"], "DOCUMENTS = 1000", 24),
    "bench_mixture": (
        ["--scratch", "scratch", "--rounds", "1"],
        "SHARDS = PREFIXES = 40; JOINED = 2; JOINED_DOCUMENTS = 100",
        6,
    ),
    "bench_duplicates": (
        ["--scratch", "scratch"],
        "SIZES = (1000, 2000); INDEX_DOCUMENTS = WITHDRAWN_DOCUMENTS = 1000; DOCUMENT_TOKENS = 10",
        6,
    ),
    "bench_checkpoints": (
        ["--scratch", "scratch", "--rounds", "1"],
        "LAYERS = {1: 1, 2: 2}; CONFIG |= {'hidden_size': 256, 'intermediate_size': 512}",
        14,
    ),
    "bench_training": (["--scratch", "scratch", "--steps", "1"], "", 16),
    "simulate_shards": (["--scratch", "scratch", "--shards", "6", "--run-shards", "2"], "", 14),
    "bench_azure": (["--merged-mb", "20", "--blobs", "20", "--shard-mb", "16"], "", 7),
}


def run_benchmark(name: str, folder: Path) -> list[str]:
    """Run a benchmark with small inputs in a folder; return the rows of its tables."""
    arguments, smaller, _ = BENCHMARKS[name]
    code = f"import {name}; exec({smaller!r}, vars({name})); {name}.main()"
    path = os.pathsep.join(str(ROOT / part) for part in ("scripts", "tests", "tests/support", "benchmarks"))
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return [line for line in result.stdout.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "bench_azure"])
def test_it_prints_all_rows(name: str, tmp_path: Path, tokenizer_model: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "tokenizer.model").symlink_to(tokenizer_model)
    for language, texts in TEXTS.items():
        (tmp_path / "text" / f"{language}.jsonl").write_bytes(jsonl(texts))
    assert len(run_benchmark(name, tmp_path)) == BENCHMARKS[name][2]
    assert not (tmp_path / "scratch").exists()


def test_it_prints_all_rows_of_azure(azurite: Azurite, tmp_path: Path) -> None:  # which says whether node is there
    assert len(run_benchmark("bench_azure", tmp_path)) == BENCHMARKS["bench_azure"][2]
