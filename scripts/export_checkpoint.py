"""Export the newest checkpoint of a training to a Hugging Face folder.

python scripts/export_checkpoint.py --run-folder results/runs/demo --output results/runs/demo/huggingface
"""

import argparse
import shutil
from pathlib import Path

from pretrain_llama.errors import OperatorError, run_program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-folder", type=Path, required=True, help="folder of the run that was trained")
    parser.add_argument("--output", type=Path, required=True, help="Hugging Face folder to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from pretrain_llama.checkpoints import torch_dist
    from pretrain_llama.checkpoints.architecture import read_architecture
    from pretrain_llama.checkpoints.huggingface import write_folder

    pretrained = args.run_folder / "checkpoint"
    newest = torch_dist.latest(args.run_folder / "output" / "checkpoints")
    if newest is None:
        raise OperatorError("the run has no checkpoint", where=args.run_folder, action="launch its training first")
    tensors = torch_dist.read_huggingface_tensors(newest, read_architecture(pretrained))
    write_folder(args.output, tensors, like=pretrained)
    for tokenizer in args.run_folder.glob("tokenizer.*"):
        shutil.copyfile(tokenizer, args.output / tokenizer.name)


if __name__ == "__main__":
    run_program(main)
