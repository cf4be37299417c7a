"""Measure the conversion of a generated bf16 Llama of a billion parameters, both ways; print a table of ratios.

    make bench-checkpoints

The peer copies the same bytes with their SHA-256, in the same run, in turn with ours; each figure is the median of some
rounds. Each waits for the disk, so that nobody pays for another's writes, and then removes what it wrote the last time,
so that each finds as many pages free. Files that are read are in the page cache. Memory is the largest sum of the
resident sets of all processes, with the pages of files that they map, sampled every 20 ms. The naive conversion loads
both models.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from pretrain_llama.checkpoints import mapping
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.checkpoints.copying import OpenFiles, write_rows
from pretrain_llama.checkpoints.huggingface import HuggingFaceLayout
from pretrain_llama.checkpoints.new_rows import to_bytes
from pretrain_llama.checkpoints.tensors import Spec
from pretrain_llama.files import sha256

Figures = tuple[float, float, float]  # seconds, CPU seconds, MB
ROOT = Path(__file__).resolve().parents[1]
LAYERS = {1: 15, 2: 31}  # by billions of parameters: 1.04 and 2.02, of which 0.13 outside the layers
SECONDS = 12
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for about 15 GB, removed at the end")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is run")
    return parser.parse_args()


def make_model(folder: Path, layers: int) -> Path:
    """Write a Hugging Face Llama of random weights in bf16."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": layers}))
    specs = {part.name: Spec("bf16", part.shape) for part in mapping.parts(read_architecture(folder))}
    layout = HuggingFaceLayout(folder, specs)
    layout.write_frame()
    random = to_bytes(np.random.default_rng(0).normal(0, 0.02, (1 << 20, 16)), "bf16").reshape(-1)
    with OpenFiles() as opened:
        for name, spec in specs.items():
            write_rows(layout.regions(name), 0, np.resize(random, (spec.rows, spec.row_bytes)), opened)
    return folder


def run(*command: object) -> Figures:
    """Run a Python program; return its seconds, its CPU seconds, and its peak memory in MB."""
    start, before = time.perf_counter(), os.times()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    watch = Watch(process.pid)
    _, errors = process.communicate()
    seconds, after = time.perf_counter() - start, os.times()
    if process.returncode:
        raise SystemExit(f"ended with {process.returncode}: {' '.join(map(str, command))}\n{errors}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu, watch.peak()


class Watch:
    """The largest sum of the resident sets of a process and its children."""

    def __init__(self, pid: int) -> None:
        self._process, self._largest = psutil.Process(pid), 0
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def _sample(self) -> None:
        while True:
            try:
                family = [self._process, *self._process.children(recursive=True)]
                self._largest = max(self._largest, sum(one.memory_info().rss for one in family))
                if self._process.status() == psutil.STATUS_ZOMBIE:
                    return
            except psutil.NoSuchProcess:
                if not self._process.is_running():
                    return
            time.sleep(0.02)

    def peak(self) -> float:
        """Return it in MB, once the process has ended."""
        self._thread.join()
        return self._largest / 1e6


class Conversions:
    """What is measured, of one model."""

    def __init__(self, scratch: Path, billions: int) -> None:
        self.source = make_model(scratch / f"{billions}b", LAYERS[billions])
        self.size = (self.source / "model.safetensors").stat().st_size
        self._copied, self._naive = scratch / "copied", scratch / "naive"
        self.megatron, self.back = scratch / f"{billions}b_megatron", scratch / f"{billions}b_back"

    def _run(self, target: Path, *command: object) -> Figures:
        os.sync()
        shutil.rmtree(target, ignore_errors=True)
        return run(*command)

    def copy(self) -> Figures:
        return self._run(self._copied, ROOT / "benchmarks/copy_with_checksums.py", self.source, self._copied)

    def to_megatron(self) -> Figures:
        program = ROOT / "scripts/convert_checkpoint.py"
        return self._run(self.megatron, program, "--source", self.source, "--output", self.megatron)

    def to_huggingface(self) -> Figures:
        paths = ["--checkpoint", self.megatron, "--like", self.source, "--output", self.back]
        return self._run(self.back, ROOT / "scripts/export_checkpoint.py", *paths)

    def naive(self, direction: str) -> Figures:
        megatron = self._naive if direction == "to-megatron" else self.megatron
        program = ROOT / "benchmarks/convert_models.py"
        return self._run(self._naive, program, direction, self.source, megatron, self._naive)


def row(what: str, ours: str, peer: str, ratio: float, goal: str) -> None:
    print(f"| {what} | {ours} | {peer} | {ratio:.2f} | {goal} |", flush=True)


def in_turn(rounds: int, *measures: Callable[[], Figures]) -> list[Figures]:
    """Return the median figures of each measure; each round begins with another, and leaves them in their order."""
    found: dict[int, list[Figures]] = {number: [] for number in range(len(measures))}
    for begin in range(rounds):
        for step in range(len(measures)):
            number = (begin + step) % len(measures)
            found[number].append(measures[number]())
    return [tuple(map(statistics.median, zip(*figures, strict=True))) for figures in found.values()]


def main() -> None:
    args = parse_args()
    shutil.rmtree(args.scratch, ignore_errors=True)
    small = Conversions(args.scratch, 1)
    for measure in (small.copy, small.to_megatron, small.to_huggingface):
        measure()  # so that each has something to remove
    copied, *ours = in_turn(args.rounds, small.copy, small.to_megatron, small.to_huggingface)
    assert sha256(small.source / "model.safetensors") == sha256(small.back / "model.safetensors"), "bit for bit"
    print(f"{small.size / 1e9:.2f} GB, {args.rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| what | ours | peer | ratio | goal |\n|---|---|---|---|---|")
    ways = ("to-megatron", "to-huggingface")
    for way, (seconds, cpu, _) in zip(ways, ours, strict=True):
        ratio = seconds / copied[0]
        row(f"{way}, against a copy with SHA-256", f"{seconds:.1f} s", f"{copied[0]:.1f} s", ratio, "≤ 1.5")
        row("the same, CPU", f"{cpu:.1f} s", f"{copied[1]:.1f} s", cpu / copied[1], "")
        row("the same, against a limit", f"{seconds:.1f} s", f"{SECONDS} s", seconds / SECONDS, "≤ 1")
    for way, (seconds, _, memory) in zip(ways, ours, strict=True):
        naive = small.naive(way)
        row(f"{way}, against loading both models", f"{seconds:.1f} s", f"{naive[0]:.1f} s", seconds / naive[0], "")
        row("the same, peak memory", f"{memory:.0f} MB", f"{naive[2]:.0f} MB", memory / naive[2], "")
    shutil.rmtree(args.scratch)
    large = Conversions(args.scratch, 2)
    for way, measure, (_, _, before) in zip(ways, (large.to_megatron, large.to_huggingface), ours, strict=True):
        memory = measure()[2]
        row(f"{way}, peak memory, 2 B against 1 B", f"{memory:.0f} MB", f"{before:.0f} MB", memory / before, "≤ 1.1")
    shutil.rmtree(args.scratch)


if __name__ == "__main__":
    main()
