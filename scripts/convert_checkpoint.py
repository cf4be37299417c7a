"""Convert a Hugging Face Llama to a Megatron torch_dist checkpoint.

    python scripts/convert_checkpoint.py --huggingface resources/demo/llama \
        --tensor-parallel 1 --pipeline-parallel 1 --output results/checkpoints/demo-llama_tp=1_pp=1

The checkpoint loads on any parallel sizes that divide the model and the padded vocabulary.
"""

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.files import sha256, write_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--huggingface", type=Path, required=True, help="folder with config.json and safetensors")
    parser.add_argument("--tensor-parallel", type=int, default=1, help="tensor parallel size; pads the vocabulary")
    parser.add_argument("--pipeline-parallel", type=int, default=1, help="pipeline parallel size, checked to fit")
    parser.add_argument(
        "--output", type=Path, required=True, help="writes release/, its tracker, config.json and conversion.json"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from pretrain_llama.checkpoints import torch_dist
    from pretrain_llama.checkpoints.architecture import read_architecture
    from pretrain_llama.checkpoints.huggingface import CARRIED_FILES, HuggingFaceReader
    from pretrain_llama.training.processes import process_groups

    architecture = read_architecture(args.huggingface)
    architecture.check_parallel(args.tensor_parallel, args.pipeline_parallel, str(args.huggingface / "config.json"))
    padded_vocab_size = architecture.padded_vocab_size(args.tensor_parallel)
    reader = HuggingFaceReader(args.huggingface)
    shutil.rmtree(args.output, ignore_errors=True)
    with process_groups(tensor=1, pipeline=1, place="convert_checkpoint.py"):
        torch_dist.write_release(reader, architecture, padded_vocab_size, args.output)
    reader.check_all_read()
    for name in CARRIED_FILES:
        if (args.huggingface / name).exists():
            shutil.copyfile(args.huggingface / name, args.output / name)
    sources = sorted(path for path in args.huggingface.iterdir() if path.suffix in (".json", ".safetensors"))
    conversion = {
        "sources": {path.name: sha256(path) for path in sources},
        "architecture": asdict(architecture),
        "padded_vocab_size": padded_vocab_size,
    }
    write_json(args.output / "conversion.json", conversion)


if __name__ == "__main__":
    run_program(main)
