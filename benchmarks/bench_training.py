"""Measure the trainer against a bare loop over the same model, its start-up, and, on a GPU, what each lever gives.

    python benchmarks/bench_training.py --scratch resources/bench/training

The bare loop is a forward and backward pass of megatron-core's GPTModel, clipping, and torch's AdamW on tensors that
are in memory: no data, no data parallel buffers, no log, no checks. It takes turns with the trainer, step by step, in
one process. The start-up is that of `train.py`, by cause. On a machine with CUDA, the last table is a Llama of 1.3 B
parameters in bf16 at 4,096 tokens: model FLOPs utilization (flops.py) with one lever changed at a time.
"""

import argparse
import gc
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.estimate.flops import flops_per_token, peak_flops
from pretrain_llama.run.folder import RunFolder, open_run_folder
from pretrain_llama.run.history import History
from pretrain_llama.run.phases import Phase
from pretrain_llama.run.ranks import Ranks
from pretrain_llama.run.sizes import sequences_after
from pretrain_llama.run.stages import stage_after
from pretrain_llama.training import cpu
from pretrain_llama.training.attention import Attention
from pretrain_llama.training.laps import Laps
from pretrain_llama.training.loop import Trainer
from pretrain_llama.training.model import build_model, transformer_config
from pretrain_llama.training.optimizer import build_optimizer, build_schedule, clip_and_step, gradient_norm
from pretrain_llama.training.processes import process_groups, seed_everything
from pretrain_llama.training.step import Passes, wrap_model
from pretrain_llama.training.stopping import StopRequest
from trainings import make_training

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "resources" / "demo"
TRAINING = {
    "iterations": 100_000,
    "sequence_length_tokens": 256,
    "micro_batch_size_sequences": 4,
    "global_batch_size_sequences": 8,
    "precision": "fp32",
}
NEVER = {
    "checkpoint_every_iterations": 10**6,
    "evaluate_every_iterations": 10**6,
    "log_every_iterations": 10,
}
BILLION = Architecture(24, 2048, 5504, 16, 16, 128, 32000, 4096, 1e-5, 10000.0, None, False)
LEVERS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "attention: efficient": {"kernel": SDPBackend.EFFICIENT_ATTENTION},
    "attention: cuDNN": {"kernel": SDPBackend.CUDNN_ATTENTION},
    "attention: flash": {"kernel": SDPBackend.FLASH_ATTENTION},
    "weight gradients in bf16": {"fp32_gradients": False},
    "megatron-core's gradient norm": {"own_norm": False},
    "AdamW not fused": {"fused": False},
    "SwiGLU not compiled": {"compiled": False},
    "recompute selective": {"recompute": "selective"},
    "recompute full": {"recompute": "full"},
    "micro batch 2": {"micro_batch": 2},
    "micro batch 4": {"micro_batch": 4},
    "micro batch 4, recompute selective": {"micro_batch": 4, "recompute": "selective"},
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for a run folder of 100 MB, removed")
    parser.add_argument("--steps", type=int, default=30, help="steps of each loop")
    return parser.parse_args()


def make_folder(scratch: Path) -> Path:
    """Make the run folder of a Llama of 9 M parameters, on real text; its size makes a step of a second on one core."""
    llama = scratch / "llama"
    sizes = ["--vocab-size", "8000", "--hidden-size", "256", "--layers", "6"]
    subprocess.run([sys.executable, ROOT / "demo" / "make_llama.py", *sizes, "--output", llama], check=True)
    texts = [path.read_text(errors="replace") for path in sorted(Path(statistics.__file__).parent.glob("*.py"))]
    training = make_training(
        scratch / "run" / "folder", DEMO / "tokenizer.model", llama, {"en_code_python_split_0000": texts}, {}
    )
    training.change(training=TRAINING, operation=NEVER)
    return training.folder


def bare_steps(folder: RunFolder, device: torch.device) -> Iterator[float]:
    """Yield the loss of each step of the bare loop."""
    training, architecture = folder.training, folder.architecture
    length, size = training["sequence_length_tokens"], training["micro_batch_size_sequences"]
    model = build_model(architecture, transformer_config(architecture, training["precision"]), length).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1)
    count = training["global_batch_size_sequences"] // size
    tokens = torch.randint(0, architecture.vocab_size, (count, size, length + 1), device=device)
    positions = torch.arange(length, device=device).expand(size, -1)
    while True:
        total = 0.0
        for batch in tokens:
            loss = model(batch[:, :-1].contiguous(), positions, None, labels=batch[:, 1:].contiguous()).mean() / count
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield total


def without_cuda_calls(step: Callable[[], object]) -> Callable[[], object]:
    """Return a step that runs outside of the mode in which megatron-core's calls of CUDA are answered by the CPU."""

    def outside() -> None:
        if cpu._installed is None:
            step()
            return
        cpu._installed.__exit__(None, None, None)
        try:
            step()
        finally:
            cpu._installed.__enter__()

    return outside


def seconds(step: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of a step, by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - clock, time.process_time() - processor


def bench_steps(folder: Path, steps: int) -> None:
    run = open_run_folder(folder)
    with process_groups(1, 1, "this benchmark") as device:
        run.output.mkdir(exist_ok=True)
        trainer = Trainer(run, Ranks(), device, 0, [Phase(0, 0, {}, run.manifest["identity"])], StopRequest(None), None)
        trainer.prepare(None, None, Laps())
        bare = bare_steps(run, device)
        ours, theirs = trainer.step, without_cuda_calls(lambda: next(bare))
        for _ in range(3):
            ours(), theirs()
        rounds = [(seconds(ours), seconds(theirs)) for _ in range(steps)]
    print("\n| a step, median of", steps, "| trainer | bare loop | ratio | goal |\n|---|---|---|---|---|")
    for index, what in enumerate(("by the clock", "of the processor")):
        mine, bares = (statistics.median(round_[which][index] for round_ in rounds) for which in (0, 1))
        ratio = statistics.median(own[index] / other[index] for own, other in rounds)
        print(f"| {what} | {1000 * mine:.0f} ms | {1000 * bares:.0f} ms | {ratio:.3f} | ≤ 1.1 |")


def bench_start(folder: Path) -> None:
    """Start train.py, which ends after its first step, and print where the time went."""
    shutil.rmtree(folder / "output")
    code = "import sys; sys.argv = sys.argv[1:]; import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, ROOT / "scripts" / "train.py", folder], env=os.environ)
    history = History(folder / "output")
    while not history.events("started"):
        time.sleep(0.01)
        assert process.poll() is None
    total = time.perf_counter() - start
    process.kill()
    process.wait()
    laps = history.events("started")[0]["seconds"]
    print("\n| start-up | seconds |\n|---|---|")
    for what, taken in {"python": total - sum(laps.values()), **laps, "together": total}.items():
        print(f"| {what} | {taken:.2f} |")


def lever_steps(architecture: Architecture, length: int, device: torch.device, lever: dict[str, Any]) -> Callable:
    """Return a step of a model with one lever changed, and its tokens."""
    parallel = {
        "sequence": False,
        "recompute": lever.get("recompute", "none"),
        "distributed_optimizer": False,
        "overlap": False,
    }
    micro_batch = lever.get("micro_batch", 1)
    training = {
        "iterations": 1000,
        "micro_batch_size_sequences": micro_batch,
        "global_batch_size_sequences": 4 * micro_batch,
        "batch_size_rampup": None,
        "sequence_length_tokens": length,
        "warmup_iterations": 0,
        "schedule": "constant",
        "learning_rate": 1e-5,
        "min_learning_rate": 0.0,
        "weight_decay": 0.1,
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "adam_epsilon": 1e-8,
        "gradient_clip_norm": 1.0,
        "stages": [],
    }
    config = transformer_config(architecture, "bf16", parallel)
    config.bias_activation_fusion &= lever.get("compiled", True)
    config.gradient_accumulation_fusion &= lever.get("fp32_gradients", True)
    model = wrap_model(build_model(architecture, config, length).to(device), config, parallel)
    optimizer = build_optimizer(training, config, model)
    stage = stage_after(training, 0)
    build_schedule(training, optimizer, partial(sequences_after, training), stage)
    if not lever.get("fused", True):
        for group in optimizer.param_groups:
            group["fused"] = None  # torch's own choice then: its foreach kernels; False would be a loop over tensors
    for layer in model.modules():
        if isinstance(layer, Attention) and "kernel" in lever:
            layer.kernels[False] = [lever["kernel"]]
    passes = Passes(model, training, optimizer)
    tokens = torch.randint(0, architecture.vocab_size, (micro_batch, length + 1), device=device)
    batch = {
        "tokens": tokens[:, :-1].contiguous(),
        "labels": tokens[:, 1:].contiguous(),
        "loss_mask": torch.ones(micro_batch, length, device=device),
        "position_ids": torch.arange(length, device=device).expand(micro_batch, -1),
    }

    def step() -> None:
        passes.backward(iter([batch] * 4), 4)
        optimizer.prepare_grads()
        norm = gradient_norm(optimizer) if lever.get("own_norm", True) else float(optimizer.get_grad_norm())
        clip_and_step(optimizer, norm)

    return step


def bench_levers(architecture: Architecture, length: int, steps: int) -> None:
    with process_groups(1, 1, "this benchmark") as device:
        seed_everything(0)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        peak = peak_flops(name, "bf16")
        print(f"\n| {name}, bf16, {length} tokens | tokens/s | TFLOP/s | MFU | GB | goal |\n|---|---|---|---|---|---|")
        for what, lever in LEVERS.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            try:
                step = lever_steps(architecture, length, device, lever)
                warm = [seconds(step) for _ in range(3)]
                taken = statistics.median(seconds(step)[0] for _ in range(steps)) if warm else 0
            except (torch.OutOfMemoryError, RuntimeError) as error:
                print(f"| {what} | {type(error).__name__}: {str(error).splitlines()[0][:60]} | | | | |", flush=True)
                continue
            finally:
                step = None
                gc.collect()
                torch.cuda.empty_cache()
            rate = 4 * lever.get("micro_batch", 1) * length / taken
            flops = rate * flops_per_token(architecture, length)
            share = f"{100 * flops / peak:.1f} %" if peak else "peak not known"
            memory = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0
            print(f"| {what} | {rate:,.0f} | {flops / 1e12:.1f} | {share} | {memory:.1f} | ≥ 45 % |", flush=True)


def main() -> None:
    args = parse_args()
    shutil.rmtree(args.scratch, ignore_errors=True)
    args.scratch.mkdir(parents=True)
    folder = make_folder(args.scratch)
    bench_steps(folder, args.steps)
    bench_start(folder)
    if torch.cuda.is_available():
        bench_levers(BILLION, 4096, 10)
    else:
        print("\nno CUDA here: the table of levers was not made")
    shutil.rmtree(args.scratch)


if __name__ == "__main__":
    main()
