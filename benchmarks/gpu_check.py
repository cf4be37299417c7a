"""Measure both trainers on one GPU of 80 GB or more, in at most 8 minutes, and print a table for docs/measurements.md.

    python benchmarks/gpu_check.py --scratch resources/bench/gpu_check

Layers of the width of Llama 2 7B, a few of them, in bf16 at 4,096 and 8,192 tokens. Of each trainer: MFU (flops.py),
the most memory at a step and with a save, and whether two resumptions from one checkpoint go on to equal losses. Each
row is a training of its own, by the program and the command that a launcher starts. Where there is no such GPU, it says
so and ends with exit code 2.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama.errors import OperatorError, run_program
from pretrain_llama.run.log_file import read_log
from pretrain_llama.run.packages import installed
from pretrain_llama.run.trainers import PROGRAMS
from pretrain_llama.tables import text_table

ROOT = Path(__file__).resolve().parents[1]
GB = 10**9
LEAST_BYTES = 79 * GB  # a GPU sold as 80 GB has 79 to 86
BUDGET_SECONDS = 480


@dataclass(frozen=True)
class Size:
    """What is trained: sizes of the model, steps of a training, and the step at which it saves."""

    hidden: int = 4096
    feed_forward: int = 11008
    heads: int = 32
    layers: int = 4
    vocabulary: int = 32_000
    lengths: tuple[int, ...] = (4096, 8192)
    steps: int = 12
    save_at: int = 8
    precision: str = "bf16"


HEAD = ("trainer", "tokens", "step s", "MFU", "GB at a step", "GB with a save", "resumed twice")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for run folders of 60 GB, removed")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    device = check_device()
    shutil.rmtree(args.scratch, ignore_errors=True)
    print(f"{device}; {', '.join(f'{name} {version or "no"}' for name, version in installed().items())}", flush=True)
    rows = list(measure(args.scratch, Size(), time.monotonic() + BUDGET_SECONDS))
    print(text_table(HEAD, rows, words=1, notes=1), end="")
    shutil.rmtree(args.scratch)


def check_device() -> str:
    """Return the name of the first GPU.

    Raises:
        OperatorError: there is none, or it is too small.
    """
    import torch

    if not torch.cuda.is_available():
        raise OperatorError(
            "no GPU is here: nothing was measured",
            where="torch.cuda",
            action="run it on a machine with a GPU of 80 GB or more, in the training image (envs/training/Dockerfile)",
        )
    found = torch.cuda.get_device_properties(0)
    if found.total_memory < LEAST_BYTES:
        raise OperatorError(
            f"{found.name} has {found.total_memory / GB:.0f} GB, {LEAST_BYTES / GB:.0f} are needed",
            where="torch.cuda",
            action="run it on a GPU of 80 GB or more",
        )
    return f"{found.name}, {found.total_memory / GB:.0f} GB"


def measure(scratch: Path, size: Size, deadline: float) -> Iterator[tuple[str, ...]]:
    """Yield a row of each trainer and length; those that no time is left for say so.

    Args:
        scratch: folder to make run folders in.
        size: what is trained.
        deadline: by time.monotonic.
    """
    made = make_folder(scratch, size)
    for length in size.lengths:
        for trainer in PROGRAMS:
            if time.monotonic() > deadline:
                yield (trainer, f"{length:,}", "", "", "", "", "no time left")
                continue
            copy = made.copied(scratch / f"{trainer}_{length}", **changes(size, trainer, length))
            yield row(trainer, length, train(copy.folder, trainer), resumed_alike(copy.folder, trainer, size), size)
            shutil.rmtree(copy.folder)


def make_folder(scratch: Path, size: Size) -> Any:
    """Return a run folder with random weights, on the text of Python's standard library."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from trainings import make_training

    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=max(size.lengths),
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(scratch / "llama")
    texts = [path.read_text(errors="replace") for path in sorted(Path(statistics.__file__).parent.glob("*.py"))]
    tokenizer = ROOT / "resources" / "demo" / "tokenizer.model"
    return make_training(scratch / "made" / "run", tokenizer, scratch / "llama", {"en_code_py_split_0000": texts}, {})


def changes(size: Size, trainer: str, length: int) -> dict[str, Any]:
    """Return what run.yaml says of a row, by section."""
    return {
        "trainer": trainer,
        "training": {
            "iterations": size.steps,
            "sequence_length_tokens": length,
            "micro_batch_size_sequences": 1,
            "global_batch_size_sequences": 4,
            "precision": size.precision,
        },
        "operation": {"checkpoint_every_iterations": size.save_at, "evaluate_every_iterations": size.steps},
    }


def train(folder: Path, trainer: str) -> list[dict[str, Any]]:
    """Train a run folder by its program, and return its log.

    Raises:
        OperatorError: it failed; its message stands above.
    """
    program = ROOT / "scripts" / PROGRAMS[trainer]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    if subprocess.run([sys.executable, program, folder], env=environment).returncode:
        raise OperatorError(f"{program.name} failed", where=folder, action="see its message above")
    return read_log(folder / "output")


def resumed_alike(folder: Path, trainer: str, size: Size) -> str:
    """Return whether two resumptions from the checkpoint before the last one log equal losses, bit for bit."""
    losses = []
    for attempt in range(2):
        output = folder / "output"
        last = output / "checkpoints" / f"iter_{size.steps:07d}"
        shutil.rmtree(last)
        found = [step["loss"] for step in train(folder, trainer)]
        losses.append(found[size.save_at :])
        assert len(losses[attempt]) == size.steps - size.save_at
    furthest = max(abs(one - other) for one, other in zip(*losses, strict=True))
    return "equal" if furthest == 0 else f"differ by {furthest:.2g}"


def row(trainer: str, length: int, log: list[dict[str, Any]], resumed: str, size: Size) -> tuple[str, ...]:
    """Return the row of a training.

    Args:
        trainer: of it.
        length: of a sequence, in tokens.
        log: of its first start.
        resumed: what its resumptions did.
        size: which says when it saved: memory_bytes is the most up to a step.
    """
    # The first two compile kernels, and create the optimizer's state.
    steady = log[min(2, size.save_at - 1) : size.save_at]
    mfu = [step["mfu"] for step in steady if "mfu" in step]
    return (
        trainer,
        f"{length:,}",
        f"{statistics.median(step['step_seconds'] for step in steady):.3f}",
        f"{statistics.median(mfu):.1%}" if mfu else "unknown peak",
        f"{log[size.save_at - 1]['memory_bytes'] / GB:.1f}",
        f"{log[-1]['memory_bytes'] / GB:.1f}",
        resumed,
    )


if __name__ == "__main__":
    run_program(main)
