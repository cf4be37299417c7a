r"""Write a run folder: all that a training needs and was made from.

    python scripts/write_run_folder.py --run config/runs/demo --indexed results/indexed/demo-8k.0a1b2c3d \
        --validation results/validation/demo-8k.0a1b2c3d \
        --tokenizer results/tokenizers/demo-8k.0a1b2c3d/tokenizer.model \
        --exported-tokenizer results/tokenizers/demo-8k.0a1b2c3d/export \
        --checkpoint results/checkpoints/demo-llama_tp=1_pp=1 --tokenized results/tokenized/demo-8k.0a1b2c3d \
        --plans results/plan/*.json \
        --sources config/config.yaml config/corpora.tsv envs/requirements.lock --output results/runs/demo

OUTPUT/mixture/ must be there (compute_probabilities.py). Shards and weights are hard links: no bytes move.
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.provenance.writing import write_run_folder


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of run.yaml, rates and probabilities")
    parser.add_argument("--indexed", type=Path, required=True, help="folder of the counted .bin and .idx files")
    parser.add_argument("--validation", type=Path, help="folder of the validation sets")
    parser.add_argument("--tokenizer", type=Path, required=True, help="…/{identity}/tokenizer.model or .json")
    parser.add_argument("--exported-tokenizer", type=Path, help="folder that export_tokenizer.py wrote, for exports")
    parser.add_argument("--checkpoint", type=Path, required=True, help="converted checkpoint to start from")
    parser.add_argument(
        "--tokenized",
        help="folder or store of data_signature.json, conservation.json and receipts, for verify_run.py",
    )
    parser.add_argument(
        "--plans", nargs="*", default=[], help="recorded plans of corpora, here or in a store; kept of those sampled"
    )
    parser.add_argument("--sources", type=Path, nargs="*", default=[], help="further files that the run was made from")
    parser.add_argument("--output", type=Path, required=True, help="run folder to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    write_run_folder(
        args.run,
        args.indexed,
        args.validation,
        args.tokenizer,
        args.checkpoint,
        args.sources,
        args.output,
        args.tokenized,
        args.plans,
        args.exported_tokenizer,
    )


if __name__ == "__main__":
    run_program(main)
