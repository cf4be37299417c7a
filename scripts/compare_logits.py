r"""Compare the logits of transformers and megatron-core on parallel layouts; this is one process of the comparison.

    python scripts/compare_logits.py --source resources/demo/llama \
        --checkpoint results/checkpoints/demo-llama_tp=1_pp=1 --output logits.json

verify_checkpoint.py starts two of them, or torchrun does; one alone compares on one process. They compute on the CPU,
whose fp32 is the same everywhere, also where there are GPUs.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from pretrain_llama.errors import OperatorError, run_program
from pretrain_llama.files import write_json
from pretrain_llama.run.ranks import from_environment

NOT_CLEAR = "at no position is the largest logit clear, so that it is the same one says nothing"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with config.json and weights")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder that convert_checkpoint.py wrote")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="in fp32, of the largest logit, or of 1")
    parser.add_argument("--output", type=Path, required=True, help="result to write (JSON)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks: there may be fewer GPUs than processes, or one in use

    # They import torch, which takes seconds; --help does not wait for it.
    from pretrain_llama.training.logits import compare_layouts
    from pretrain_llama.training.processes import process_groups

    with process_groups(1, 1, "compare_logits.py", from_environment()):
        result = compare_layouts(args.source, args.checkpoint, args.tolerance)
    if result:
        _check(result["logits"], args.checkpoint)
        warn(result)
        write_json(args.output, result)


def warn(result: dict[str, Any]) -> None:
    """Say what a result that is right does not show."""
    for each in result["skipped"]:
        print(f"warning: not compared on {_layout(each)}: {each['why']}", file=sys.stderr)
    for each in result["logits"]:
        if not each["clear"]:
            print(f"warning: {_layout(each)}, {each['precision']}: {NOT_CLEAR}", file=sys.stderr)


def _layout(each: dict[str, Any]) -> str:
    return f"tensor {each['tensor']} x pipeline {each['pipeline']}"


def _check(compared: list[dict[str, Any]], checkpoint: Path) -> None:
    failed = [each for each in compared if not each["passed"]]
    if failed:
        shown = "\n".join(
            f"    {each['precision']}, {_layout(each)}: by up to {each['largest_difference']:.3g}, "
            f"{each['allowed']:.3g} is allowed; the largest is of the same id at {each['agreement']:.1%} of the "
            f"positions, at {each['clear_agreement'] or 0:.1%} of the {each['clear']} clear ones"
            for each in failed
        )
        raise OperatorError(
            f"the logits differ:\n{shown}",
            where=checkpoint,
            action="convert it again; if it stays so, report it with the model's config.json",
        )


if __name__ == "__main__":
    run_program(main)
