r"""Summarize a run: documents in and out, tokens and epochs by domain, losses, and where everything is.

    python scripts/summarize_run.py --conservation results/tokenized/demo-8k.0a1b2c3d/conservation.json \
        --run-folder results/runs/demo
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.files import write_json, write_text
from pretrain_llama.report.summary import as_text, summarize


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conservation", type=Path, required=True, help="conservation.json, the sums of documents")
    parser.add_argument(
        "--run-folder", type=Path, required=True, help="folder of the run; writes its summary.json and summary.txt"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    summary = summarize(args.conservation, args.run_folder)
    write_json(args.run_folder / "summary.json", summary)
    write_text(args.run_folder / "summary.txt", as_text(summary, args.run_folder))


if __name__ == "__main__":
    run_program(main)
