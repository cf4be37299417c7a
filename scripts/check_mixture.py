"""Check, before a training, that megatron-core can train on a mixture, and draws what is wanted of each shard.

    python scripts/check_mixture.py --mixture results/runs/demo/mixture --indexed results/indexed/demo-8k.0a1b2c3d

Reads the .idx files, builds the blend with megatron-core's own builder (its index is temporary), and says what many
prefixes cost.
"""

import argparse
import re
from dataclasses import asdict
from pathlib import Path

from pretrain_llama.errors import listed, run_program
from pretrain_llama.files import write_json
from pretrain_llama.mixture.mixture import Mixture
from pretrain_llama.mixture.preflight import Report, check

NEXT_LINE = "\n  "


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixture", type=Path, required=True, help="probabilities.json, or its folder")
    parser.add_argument("--indexed", type=Path, required=True, help="folder of the counted .bin and .idx files")
    parser.add_argument(
        "--split",
        type=split,
        default="100,0,0",
        help="parts of each shard for training, validation and test, as of Megatron's --split; this project trains on"
        " all of it (default)",
    )
    parser.add_argument("--output", type=Path, required=True, help="report to write (JSON)")
    return parser.parse_args()


def split(text: str) -> str:
    """Return a --split of Megatron's: up to three numbers, the first above 0."""
    numbers = text.split(",")
    if len(numbers) > 3 or not all(re.fullmatch(r"\d+(\.\d+)?", n) for n in numbers) or not float(numbers[0]):
        raise argparse.ArgumentTypeError(f"{text!r} is not one to three numbers, as 99,1,0, the first above 0")
    return text


def as_text(report: Report, mixture: Mixture) -> str:
    """Return the report for a terminal."""
    allowed = "nothing limits them" if report.open_files_allowed is None else f"{report.open_files_allowed:,} allowed"
    off = [
        f"{name}: {report.drawn[name]:,} drawn, {mixture.by_name[name].sequences:,} wanted"
        for name in report.off_by_more_than_one
    ]
    lines = [
        f"{report.prefixes:,} prefixes, {report.sequences:,} sequences: built in {report.build_seconds:.2f} s, with an "
        f"index of {report.cache_bytes:,} bytes",
        f"sequences drawn and wanted differ by at most {report.largest_difference:,} in a shard",
        f"by more than 1 in {len(off):,} of {report.prefixes:,} shards:\n  {listed(off, NEXT_LINE)}" * bool(off),
        f"open files: {report.megatron_open_files:,} in each process of Megatron-LM; ulimit -n here: {allowed}",
        f"warning: {report.warning}" * bool(report.warning),
        f"advice: {report.advice}" * bool(report.advice),
    ]
    return "\n".join(filter(None, lines))


def main() -> None:
    args = parse_args()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    mixture = Mixture.read(args.mixture)
    report = check(mixture, args.indexed, args.split, args.output.parent)
    write_json(args.output, asdict(report))
    print(as_text(report, mixture))


if __name__ == "__main__":
    run_program(main)
