r"""Verify a converted checkpoint against its source: every tensor bit for bit, and the logits on several layouts.

    python scripts/verify_checkpoint.py --source resources/demo/llama \
        --checkpoint results/checkpoints/demo-llama_tp=1_pp=1 --output verification.json

The logits of transformers and of megatron-core are compared in fp32, and in bf16 if the weights are, on one process, on
two tensor parallel ones and on two pipeline parallel ones. That takes the memory of two models in fp32, and of their
gate and up projections once more; where it is not there, the tensors alone are compared, which takes none, and the
result says so.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from pretrain_llama.checkpoints import passport
from pretrain_llama.checkpoints.architecture import PASSPORT, read_architecture
from pretrain_llama.checkpoints.logits_memory import available_bytes, comparison_bytes
from pretrain_llama.checkpoints.verification import verify_padding, verify_tensors
from pretrain_llama.errors import run_program
from pretrain_llama.files import read_json, sha256, write_json
from pretrain_llama.launch.local import run_processes
from pretrain_llama.run.packages import installed

PROCESSES = 2
GIB = 1 << 30


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with config.json and weights")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder that convert_checkpoint.py wrote")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="in fp32, of the largest logit, or of 1")
    parser.add_argument("--output", type=Path, required=True, help="result to write (JSON)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    args.output.unlink(missing_ok=True)  # of an earlier conversion, which the passport would not fit
    passport.check(args.checkpoint)
    result = {
        "conversion": sha256(args.checkpoint / PASSPORT),
        "tensors": verify_tensors(args.source, args.checkpoint),
        "padding_rows": verify_padding(args.checkpoint),
        "packages": installed(),
    }
    needed, there = comparison_bytes(read_architecture(args.checkpoint), PROCESSES), available_bytes()
    print(f"comparing logits takes {needed / GIB:.1f} GiB, {there / GIB:.1f} are there", file=sys.stderr)
    if needed > there:
        why = f"needs {needed / GIB:.1f} GiB, {there / GIB:.1f} GiB there"
        print(f"warning: every tensor is the source's, but logits are not compared: {why}", file=sys.stderr)
        write_json(args.output, result | {"logits": [], "logits_skipped": why})
        return
    with tempfile.TemporaryDirectory() as folder:
        compared = Path(folder) / "logits.json"
        command = [sys.executable, str(Path(__file__).with_name("compare_logits.py"))]
        command += ["--source", str(args.source), "--checkpoint", str(args.checkpoint)]
        run_processes([*command, "--tolerance", str(args.tolerance), "--output", str(compared)], PROCESSES)
        write_json(args.output, result | read_json(compared))


if __name__ == "__main__":
    run_program(main)
