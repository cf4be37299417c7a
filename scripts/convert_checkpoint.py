r"""Convert a Llama to a Megatron torch_dist checkpoint, which loads on any parallel sizes that divide it.

    python scripts/convert_checkpoint.py --source resources/demo/llama \
        --tensor-parallel 1 --pipeline-parallel 1 --output results/checkpoints/demo-llama_tp=1_pp=1

The source is a Hugging Face folder; or a config.json beside Megatron-LM's checkpoints, of its format torch_dist or of
its older one, torch (mp_rank_00/model_optim_rng.pt). No model is built: weights pass through in blocks of a few MB.
transformers is asked whether it takes the config.json.
"""

import argparse
from pathlib import Path

from pretrain_llama.arguments import add_accepted
from pretrain_llama.checkpoints.architecture import VOCAB_MULTIPLE
from pretrain_llama.checkpoints.conversion import to_megatron
from pretrain_llama.errors import run_program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with config.json and weights")
    parser.add_argument("--tensor-parallel", type=int, default=1, help="tensor parallel size; pads the vocabulary")
    parser.add_argument("--pipeline-parallel", type=int, default=1, help="pipeline parallel size, checked to fit")
    parser.add_argument(
        "--vocab-multiple", type=int, default=VOCAB_MULTIPLE, help="rows of the vocabulary in a tensor parallel process"
    )
    parser.add_argument(
        "--padding-rows",
        choices=["mean", "zero"],
        default="mean",
        help="rows that pad the vocabulary: the mean of the others, or 0 in the output layer",
    )
    add_accepted(parser)
    parser.add_argument(
        "--output", type=Path, required=True, help="writes release/, its tracker, config.json and conversion.json"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    sizes = (args.tensor_parallel, args.pipeline_parallel, args.vocab_multiple)
    to_megatron(args.source, args.output, *sizes, args.padding_rows, args.accept_argument)


if __name__ == "__main__":
    run_program(main)
