"""Verify a run folder: that everything in it is as it was written, and that the probabilities follow from its sources.

    python scripts/verify_run.py results/runs/demo
    python code/scripts/verify_run.py . --full      # in the folder, or a copy of it; reads every shard and weight

A line for each check, and what differs. Exit code 0: all is well; 1: something differs; 2: nothing is known to differ,
but something could not be checked.
"""

import argparse
import sys
from pathlib import Path

from pretrain_llama.checklist import Report
from pretrain_llama.errors import run_program
from pretrain_llama.provenance.integrity import check_megatron_lm, verify


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path, help="folder that write_run_folder.py wrote")
    parser.add_argument("--full", action="store_true", help="read every shard and weight, to compare hashes")
    parser.add_argument(
        "--megatron-lm",
        type=Path,
        metavar="CHECKOUT",
        help="ask Megatron-LM's own parser, of this checkout, whether it takes megatron_lm_arguments.sh; 10 seconds",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    report = Report()
    verify(args.run_folder, args.full, report)
    if args.megatron_lm:
        report.check("arguments for Megatron-LM", lambda: check_megatron_lm(args.run_folder, args.megatron_lm))
    sys.exit(report.exit_code())


if __name__ == "__main__":
    run_program(main)
