"""Export a checkpoint of a training to a Hugging Face folder.

    python scripts/export_checkpoint.py --run-folder results/runs/demo --iteration 100 --output results/exported

Or any Megatron checkpoint, with the config.json and tokenizer of another folder:

    python scripts/export_checkpoint.py --checkpoint checkpoints/iter_0005000 --like llama --output exported
"""

import argparse
from pathlib import Path

from pretrain_llama.checkpoints import passport, torch_dist
from pretrain_llama.checkpoints.architecture import PASSPORT, read_architecture
from pretrain_llama.checkpoints.conversion import to_huggingface
from pretrain_llama.checkpoints.opening import open_tensors
from pretrain_llama.errors import OperatorError, run_program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run-folder", type=Path, help="folder of a run that was trained")
    source.add_argument("--checkpoint", type=Path, help="a checkpoint, or a folder of them, of which the newest")
    parser.add_argument("--iteration", default="final", help="of the run: a number, or final, its newest")
    parser.add_argument("--like", type=Path, help="folder of the config.json and tokenizer of --checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="Hugging Face folder to write")
    args = parser.parse_args()
    if (args.checkpoint is None) != (args.like is None) or (args.checkpoint and args.iteration != "final"):
        parser.error("--checkpoint goes with --like, --iteration with --run-folder")
    return args


def main() -> None:
    args = parse_args()
    if args.run_folder:
        like, checkpoint = args.run_folder / "checkpoint", _trained(args.run_folder, args.iteration)
        passport.check(like, trained=checkpoint)
        tokenizer = next(args.run_folder.glob("tokenizer.*"), None)
    else:
        like, checkpoint, tokenizer = args.like, args.checkpoint, None
        for converted in (checkpoint, checkpoint.parent):  # a folder of checkpoints, or one of them
            if (converted / PASSPORT).exists():
                passport.check(converted, like=like)
        newest = torch_dist.latest(checkpoint) or checkpoint
        began = newest.resolve().parent.parent.parent / "checkpoint"  # of the run folder, if it is one of a training
        if (began / PASSPORT).exists():
            passport.check(began, trained=newest, like=like)
    architecture = read_architecture(like)
    to_huggingface(open_tensors(checkpoint, architecture), architecture, like, args.output, tokenizer)


def _trained(run_folder: Path, iteration: str) -> Path:
    checkpoints = run_folder / "output" / "checkpoints"
    newest = torch_dist.latest(checkpoints)
    if newest is None:
        raise OperatorError("the run has no checkpoint", where=run_folder, action="launch its training first")
    if iteration == "final":
        return newest
    chosen = torch_dist.iteration_folder(checkpoints, int(iteration)) if iteration.isdigit() else None
    if chosen is None or not chosen.exists():
        there = ", ".join(map(str, sorted(torch_dist.numbered(checkpoints))))
        raise OperatorError(
            f"no checkpoint of iteration {iteration}", where=checkpoints, action=f"choose one of {there}"
        )
    return chosen


if __name__ == "__main__":
    run_program(main)
