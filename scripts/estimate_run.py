"""Estimate a training before it is paid for: parameters, memory, tokens, FLOPs, days, and bytes of checkpoints.

    python scripts/estimate_run.py results/runs/demo --device "NVIDIA A100" --mfu 0.45
    python scripts/estimate_run.py config/runs/demo --checkpoint resources/demo/llama --json

Tokens, FLOPs and days are those of the whole training; of one that has begun, over all its phases, less what skipped
steps left out. The days have its evaluations in them, where the folder has validation sets. Parameters and FLOPs are
exact; memory leaves out what torch's allocator and NCCL take, a few GB; days follow from the peak of the device times
the MFU that you assume. Sources of the formulas: parameters.py, memory.py and
flops.py in scripts/pretrain_llama/estimate/.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.configuration import load_run
from pretrain_llama.errors import ConfigError, run_program
from pretrain_llama.estimate.flops import PEAK_FLOPS
from pretrain_llama.estimate.run import estimate
from pretrain_llama.run.packages import installed
from pretrain_llama.tables import text_table

# Megatron-LM's README: 41 to 48 % on H100, models of 2 to 462 billion parameters.
MFU = 0.4
GB, TERA = 10**9, 10**12


SAVERS = {"own": "our trainer", "megatron_lm": "Megatron-LM's, as it is by default"}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path, help="run folder, or a folder of config/runs/ with --checkpoint")
    parser.add_argument(
        "--checkpoint", type=Path, help="folder of the model's config.json; default: checkpoint/ of the run folder"
    )
    parser.add_argument(
        "--device",
        default="NVIDIA H100 80GB HBM3",
        help=f"one of {', '.join(PEAK_FLOPS)}; default: %(default)s, 989 TFLOP/s in bf16",
    )
    parser.add_argument(
        "--mfu",
        type=fraction,
        default=MFU,
        help="model FLOPs utilization to assume, above 0 to 1; default: %(default)s, an assumption: Megatron-LM's "
        "README has 0.41 to 0.48 on H100",
    )
    parser.add_argument("--json", action="store_true", help="print JSON: bytes, seconds, FLOPs, parameters")
    return parser.parse_args()


def fraction(text: str) -> float:
    """Return a number above 0, at most 1."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0, at most 1")
    return number


def main() -> None:
    args = parse_args()
    run, checkpoint = load_run(args.run_folder), args.checkpoint or args.run_folder / "checkpoint"
    if not args.checkpoint and not checkpoint.exists():
        raise ConfigError(
            "the run folder has no checkpoint",
            where=args.run_folder,
            action="give --checkpoint, the folder of the model's config.json, or a folder of results/runs/",
        )
    figures = estimate(run, read_architecture(checkpoint), args.device, args.mfu, args.run_folder)
    figures |= {"packages": installed()}
    print(json.dumps(figures, indent=1) if args.json else as_text(figures), end="\n" if args.json else "")


def as_text(f: dict[str, Any]) -> str:
    """Return the figures as a table for a terminal."""
    rows = [(f"  {part}", f"{number:,}", "") for part, number in f["parameters"].items()]
    if f["padding_parameters"]:
        rows.append(("  of which padding", f"{f['padding_parameters']:,}", "of the vocabulary"))
    rows.append(("memory of the fullest process", "", ""))
    rows += [(f"  {part}", f"{size / GB:,.3f} GB", "") for part, size in f["memory_bytes"].items()]
    rows += [
        (f"  more at a save, {place}", f"{size / GB:,.3f} GB", SAVERS[trainer])
        for trainer, sizes in f["save_memory_bytes"].items()
        for place, size in sizes.items()
    ]
    rows += [
        ("tokens", f"{f['tokens']:,}", ""),
        *_begun(f),
        ("FLOPs", f"{f['flops']:.3e}", "6 N + 12 L H Q T a token, PaLM"),
        ("evaluations", f"{f['evaluations']:,}", _evaluations(f)),
        ("speed", f"{f['tokens_per_second']:,.0f} tokens/s", _assumption(f)),
        ("time", f"{f['days']:,.2f} days", f"{f['device_hours']:,.1f} hours of a device"),
        ("a checkpoint", f"{f['checkpoint_bytes'] / GB:,.3f} GB", "weights and optimizer"),
        ("checkpoints kept", f"{f['checkpoints_bytes'] / GB:,.3f} GB", f"{f['checkpoints_kept']:,} of them"),
        ("installed here", "", ""),
        *((f"  {package}", version or "no", "") for package, version in f["packages"].items()),
    ]
    return text_table(("parameters", "", ""), rows, words=1, notes=1)


def _begun(f: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the row of a training that has begun."""
    done = f"in {f['iterations_done']:,} iterations; all its phases together"
    return [("  of which trained on", f"{f['tokens_trained']:,}", done)] if f["iterations_done"] else []


def _evaluations(f: dict[str, Any]) -> str:
    if f["evaluation_tokens"] is None:
        return "not counted below: the validation sets are made with the run folder"
    share = f["evaluation_flops"] / (f["flops"] + f["evaluation_flops"])
    return f"{f['evaluation_tokens']:,} tokens in all, {share:.1%} of the work; the first before the first step"


def _assumption(f: dict[str, Any]) -> str:
    peak = f"{f['peak_flops'] / TERA:,g} TFLOP/s in {f['precision']}"
    return f"{f['processes']:,} x {f['device']}, {peak}, MFU {f['mfu']:.0%} assumed"


if __name__ == "__main__":
    run_program(main)
