"""Merging and tokenizing, killed at any moment, or twice at once: what is there in the end is whole, and the same."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from project import PREFIX, SCRIPTS, SHARD, deliver, jsonl, plan_files


def killed(command: list[str], after_seconds: float) -> bool:
    """Start a command, kill it with SIGKILL after a while; say whether it was still running."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after_seconds)
    was_running = process.poll() is None
    process.kill()
    process.wait()
    return was_running


def test_killed_at_thirty_moments_the_results_are_the_same_bytes(tmp_path: Path, tokenizer_model: Path) -> None:
    sources = sorted(Path(os.__file__).parent.glob("*.py"))
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sources]
    vendor = deliver(tmp_path / "a.jsonl", jsonl(texts) + b"broken\n")
    planned = plan_files(tmp_path, vendor)

    def commands(folder: Path) -> list[list[str]]:
        merge_args = [
            "--plan",
            planned,
            "--shard",
            SHARD,
            "--output",
            folder / "s.jsonl",
            "--receipt",
            folder / "m.json",
        ]
        shard = ["--shard", SHARD, "--jsonl", folder / "s.jsonl", "--merge-receipt", folder / "m.json"]
        tokenizer = ["--text-key", "text", "--tokenizer", "toy.01234567", "--tokenizer-model", tokenizer_model]
        tokenize_args = [*shard, *tokenizer, "--held-out-fraction", 0.1, "--output-prefix", folder / PREFIX]
        programs = [("merge_shard.py", merge_args), ("tokenize_shard.py", tokenize_args)]
        return [[sys.executable, str(SCRIPTS / name), *map(str, args)] for name, args in programs]

    golden, folder = tmp_path / "golden", tmp_path / "killed"
    golden.mkdir()
    seconds = []
    for command in commands(golden):
        start = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.monotonic() - start)
    expected = {path.name: path.read_bytes() for path in golden.iterdir()}
    assert len(expected) == 10

    moments = random.Random(0)
    deaths = [0, 0]
    folder.mkdir()
    while min(deaths) < 15:
        for step, command in enumerate(commands(folder)):
            deaths[step] += killed(command, moments.uniform(0.2, 1.0) * seconds[step])
            for path in folder.iterdir():
                if not path.name.startswith("."):
                    assert path.read_bytes() == expected[path.name], "what looks finished is whole"
        if moments.random() < 0.3:
            shutil.rmtree(folder)
            folder.mkdir()
    for command in commands(folder):
        subprocess.run(command, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected


def test_two_runs_at_once_end_with_one_whole_result(tmp_path: Path, tokenizer_model: Path) -> None:
    vendor = deliver(tmp_path / "a.jsonl", jsonl([f"A tale of {number} ships." for number in range(20_000)]))
    args = ["--plan", plan_files(tmp_path, vendor), "--shard", SHARD]
    paths = ["--output", tmp_path / "shard.jsonl", "--receipt", tmp_path / "merge.json"]
    command = [sys.executable, str(SCRIPTS / "merge_shard.py"), *map(str, [*args, *paths])]
    runs = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [run.wait() for run in runs] == [0] * 4
    assert (tmp_path / "shard.jsonl").read_bytes() == vendor.read_bytes()
    assert not list(tmp_path.glob(".*"))
