"""Train a run, or resume it, by Megatron-LM's own loop: one whose run.yaml says `trainer: megatron_lm`.

    python scripts/train_megatron_lm.py results/runs/demo
    srun python scripts/train_megatron_lm.py results/runs/demo

Megatron-LM is megatron.training of megatron-core's wheel; no checkout is needed. Killed, the same command resumes.
"""

from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.run.folder import open_to_train
from pretrain_llama.run.ranks import from_environment
from pretrain_llama.run.start_checks import check_run
from pretrain_llama.run.trainers import check_engine
from pretrain_llama.training.laps import Laps
from pretrain_llama.training.starting import parse_args, set_up_cuda


def main() -> None:
    laps = Laps()
    args = parse_args(__doc__)
    own, folder = from_environment(), open_to_train(args.run_folder)
    check_run(folder, own, Path(__file__).name)
    check_engine(folder.run, folder.path)
    laps.end("checks")
    set_up_cuda(folder)
    # torch takes seconds to import; --help does not wait for it, and what is refused is refused at once.
    from pretrain_llama.training.megatron_lm.trainer import train

    laps.end("imports")
    train(folder, own, args.live_tensorboard, laps)


if __name__ == "__main__":
    run_program(main)
