"""Export a checkpoint of a training to a Hugging Face folder.

    python scripts/export_checkpoint.py --run-folder results/runs/demo --iteration 100 --output results/exported

Or any Megatron checkpoint, with the config.json of another folder, and a tokenizer that export_tokenizer.py wrote:

    python scripts/export_checkpoint.py --checkpoint checkpoints/iter_0005000 --like llama \\
        --tokenizer exported_tokenizer --output exported

Without --tokenizer, it takes the one that lies in the other folder: a tokenizer.json before a tokenizer.model. BOS, EOS
and padding in the config.json are those of the tokenizer; what was changed is printed, and recorded in conversion.json.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pretrain_llama.arguments import add_accepted
from pretrain_llama.checkpoints import passport, torch_dist
from pretrain_llama.checkpoints.architecture import PASSPORT, read_architecture
from pretrain_llama.checkpoints.conversion import to_huggingface
from pretrain_llama.checkpoints.opening import open_tensors
from pretrain_llama.errors import ConfigError, OperatorError, run_program
from pretrain_llama.exports import agreement, small_files
from pretrain_llama.exports.tokenizer_files import JSON, MODEL
from pretrain_llama.run.folder import small_files_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run-folder", type=Path, help="folder of a run that was trained")
    source.add_argument("--checkpoint", type=Path, help="a checkpoint, or a folder of them, of which the newest")
    parser.add_argument("--iteration", default="final", help="of the run: a number, or final, its newest")
    parser.add_argument("--like", type=Path, help="folder of the config.json of --checkpoint")
    parser.add_argument("--tokenizer", type=Path, help="of --checkpoint: a folder that export_tokenizer.py wrote")
    add_accepted(parser)
    parser.add_argument("--output", type=Path, required=True, help="Hugging Face folder to write")
    args = parser.parse_args()
    if (args.checkpoint is None) != (args.like is None) or (args.checkpoint and args.iteration != "final"):
        parser.error("--checkpoint goes with --like, --iteration with --run-folder")
    if args.tokenizer and args.run_folder:
        parser.error("a run has its tokenizer: --tokenizer goes with --checkpoint")
    return args


def main() -> None:
    args = parse_args()
    if args.run_folder:
        like, checkpoint = args.run_folder / "checkpoint", _trained(args.run_folder, args.iteration)
        passport.check(like, trained=checkpoint)
        architecture = read_architecture(like)
        to_huggingface(
            open_tensors(checkpoint, architecture), architecture, small_files_of(args.run_folder), args.output
        )
    else:
        from pretrain_llama.checkpoints.transformers_check import check_with_transformers  # imports torch: seconds

        _check_passports(args.checkpoint, args.like)
        architecture = read_architecture(args.like)
        tensors = open_tensors(args.checkpoint, architecture, args.accept_argument)
        with TemporaryDirectory() as folder:
            small = _small_files(args.like, args.tokenizer, Path(folder))
            check_with_transformers(small, architecture)
            to_huggingface(tensors, architecture, small, args.output)
    record = passport.read(args.output).get("tokenizer")
    for line in small_files.said(record) if record else ():
        print(line)


def _check_passports(checkpoint: Path, like: Path) -> None:
    """Check what a checkpoint's passport, or that of the one it was trained from, says of the other folder."""
    for converted in (checkpoint, checkpoint.parent):  # a folder of checkpoints, or one of them
        if (converted / PASSPORT).exists():
            passport.check(converted, like=like)
    newest = torch_dist.latest(checkpoint) or checkpoint
    began = newest.resolve().parent.parent.parent / "checkpoint"  # of the run folder, if it is one of a training
    if (began / PASSPORT).exists():
        passport.check(began, trained=newest, like=like)


def _small_files(like: Path, tokenizer: Path | None, folder: Path) -> Path:
    """Return the folder of the small files of an export that is of no run, made in a folder that is empty."""
    if tokenizer:
        small_files.write_small_files(like, tokenizer, folder / "small")
        return folder / "small"
    own = next((path for name in (JSON, MODEL) if (path := like / name).exists()), None)
    why = "it has no tokenizer"
    if own:
        try:
            return small_files.make_small_files(like, own, agreement.texts_for, folder)
        except ConfigError as error:
            why = str(error)
    small_files.check_ids(like)
    print(f"warning: the ids and the tokenizer of {like} are taken as they are: {why}", file=sys.stderr)
    return like


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
