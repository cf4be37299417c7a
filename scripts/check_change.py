r"""Check that a run folder may be rewritten: no training is active, and nothing that must not change has changed.

    python scripts/check_change.py --run config/runs/demo --indexed results/indexed/demo-8k.0a1b2c3d \
        --tokenizer results/tokenizers/demo-8k.0a1b2c3d/tokenizer.model \
        --checkpoint results/checkpoints/demo-llama_tp=1_pp=1 --tokenized results/tokenized/demo-8k.0a1b2c3d \
        --run-folder results/runs/demo

RUN_FOLDER/mixture/ must be there. Prints what changes. write_run_folder.py makes the same check, but Snakemake deletes
the old folder's manifest before it starts that program.
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.provenance.begun import check_rewriting, standing_still


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of run.yaml, rates and probabilities")
    parser.add_argument("--indexed", type=Path, required=True, help="folder of the counted .bin and .idx files")
    parser.add_argument("--tokenizer", type=Path, required=True, help="…/{identity}/tokenizer.model or .json")
    parser.add_argument("--checkpoint", type=Path, required=True, help="converted checkpoint to start from")
    parser.add_argument("--tokenized", help="folder or store of the shards' receipts")
    parser.add_argument("--run-folder", type=Path, required=True, help="folder to be written")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with standing_still(args.run_folder):
        changed = check_rewriting(
            args.run, args.indexed, args.tokenizer, args.checkpoint, args.tokenized, args.run_folder
        )
    print(f"changed since the training began: {', '.join(changed) or 'nothing'}")


if __name__ == "__main__":
    run_program(main)
