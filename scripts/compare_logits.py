"""Compare the logits of transformers and of megatron-core, on parallel layouts: one process of those that compute.

    python scripts/compare_logits.py --source resources/demo/llama \
        --checkpoint results/checkpoints/demo-llama_tp=1_pp=1 --output logits.json

verify_checkpoint.py starts two of them, or torchrun does; one alone compares on one process. They compute on the CPU,
whose fp32 is the same everywhere, also where there are GPUs.
"""

import argparse
import os
from dataclasses import asdict
from pathlib import Path

from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.checkpoints.opening import open_tensors
from pretrain_llama.errors import OperatorError, run_program
from pretrain_llama.files import write_json
from pretrain_llama.launch.ranks import from_environment


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
    import torch.distributed as dist  # takes seconds; --help does not wait for it

    from pretrain_llama.training import logits
    from pretrain_llama.training.processes import process_groups

    architecture = read_architecture(args.checkpoint)
    tensors = open_tensors(args.source, architecture)
    stored = {spec.dtype for spec in tensors.specs.values()}
    precisions = ["fp32", "bf16"] if stored == {"bf16"} else ["fp32"]
    tokens = logits.probe_tokens(architecture)
    with process_groups(1, 1, "compare_logits.py", from_environment()):
        is_first = dist.get_rank() == 0
        wanted = {
            precision: logits.transformers_logits(tensors, args.source, precision, tokens)
            for precision in (precisions if is_first else ())
        }
        compared = []
        for precision in precisions:
            for tensor, pipeline in logits.layouts(architecture, dist.get_world_size()):
                found = logits.megatron_logits(args.checkpoint, architecture, precision, tokens, tensor, pipeline)
                if is_first:
                    exact = wanted["fp32"]
                    allowed = logits.allowed_difference(precision, args.tolerance, exact, architecture.layers)
                    how = {"precision": precision, "tensor": tensor, "pipeline": pipeline, "allowed": allowed}
                    compared.append(logits.compare(wanted[precision], found, exact, **how))
    if is_first:
        _check(compared, args.checkpoint)
        largest = wanted["fp32"].abs().max().item()
        write_json(
            args.output,
            {"tokens": tokens.numel(), "largest_logit": largest, "logits": [asdict(each) for each in compared]},
        )


def _check(compared: list, checkpoint: Path) -> None:
    failed = [each for each in compared if not each.passed]
    if failed:
        shown = "\n".join(
            f"    {each.precision}, tensor {each.tensor} x pipeline {each.pipeline}: by up to "
            f"{each.largest_difference:.3g}, {each.allowed:.3g} is allowed; the largest is of the same id at "
            f"{each.agreement:.1%} of the positions, at {each.clear_agreement:.1%} of the {each.clear} clear ones"
            for each in failed
        )
        raise OperatorError(
            f"the logits differ:\n{shown}",
            where=checkpoint,
            action="delete the checkpoint and convert it again; if it stays so, report it with the model's config.json",
        )


if __name__ == "__main__":
    run_program(main)
