"""Check that a Megatron checkpoint and a Hugging Face folder compute the same logits, in fp32.

    python scripts/verify_checkpoint.py --huggingface resources/demo/llama \
        --checkpoint results/checkpoints/demo-llama_tp=1_pp=1 --output verification.json
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import OperatorError, run_program
from pretrain_llama.files import write_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--huggingface", type=Path, required=True, help="folder with config.json and safetensors")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of checkpoints; its newest is compared")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="largest difference of two logits")
    parser.add_argument("--output", type=Path, required=True, help="result to write (JSON)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from pretrain_llama.checkpoints import logits
    from pretrain_llama.checkpoints.architecture import read_architecture
    from pretrain_llama.training.processes import process_groups

    architecture = read_architecture(args.huggingface)
    tokens = logits.probe_tokens(architecture)
    wanted = logits.transformers_logits(args.huggingface, tokens)
    with process_groups(tensor=1, pipeline=1, place="verify_checkpoint.py"):
        found = logits.megatron_logits(args.checkpoint, architecture, tokens)
    difference = (wanted - found).abs().max().item()
    if not difference <= args.tolerance:  # a NaN is no agreement
        raise OperatorError(
            f"the logits differ by up to {difference:.3g}, {args.tolerance:.3g} is allowed",
            where=args.checkpoint,
            action="delete the checkpoint and convert it again; if it stays so, report it with the model's config.json",
        )
    result = {
        "largest_difference": difference,
        "tolerance": args.tolerance,
        "largest_logit": wanted.abs().max().item(),
        "tokens_compared": tokens.numel(),
    }
    write_json(args.output, result)


if __name__ == "__main__":
    run_program(main)
