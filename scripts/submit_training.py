"""Submit a run's training as a job of Slurm or Azure Machine Learning, and wait until it is finished.

    python scripts/submit_training.py results/runs/demo
    python scripts/submit_training.py results/runs/demo --launcher azureml --no-wait

A job that was submitted before and still goes on is waited for, and none is submitted beside it. Ctrl-C leaves it
running. Jobs are listed in RUN_FOLDER/output/submissions.jsonl. docs/slurm.md, docs/azureml.md.
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import ConfigError, run_program
from pretrain_llama.launch.azureml_checks import check_job
from pretrain_llama.launch.ended import JOBS
from pretrain_llama.launch.waiting import follow, submit_or_find
from pretrain_llama.provenance.begun import is_finished
from pretrain_llama.run.folder import open_to_train
from pretrain_llama.run.packages import check_programs


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path, help="folder that write_run_folder.py wrote")
    parser.add_argument("--launcher", choices=list(JOBS), help="default: launch.launcher of its run.yaml")
    parser.add_argument("--no-wait", action="store_true", help="end once the job is submitted")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    folder = open_to_train(args.run_folder)
    run = folder.run
    launcher = args.launcher or run["launch"]["launcher"]
    if launcher not in JOBS:
        raise ConfigError(
            f"the launcher is {launcher!r}: nothing is submitted",
            where=f"{args.run_folder / 'run.yaml'}: launch.launcher",
            action=f"start it with launch_training.py, or give --launcher {' or '.join(JOBS)}",
        )
    if is_finished(folder):
        return
    if launcher == "slurm":  # AzureML builds an image of the packages that the folder was written with
        check_programs(folder)
    if launcher == "azureml":
        for unknown in check_job(args.run_folder, run):
            print(f"not checked: {unknown}", flush=True)
    jobs = JOBS[launcher](args.run_folder)
    submission = submit_or_find(jobs, args.run_folder / "output", lambda: is_finished(folder))
    if submission and not args.no_wait:
        follow(jobs, submission, args.run_folder / "output", run["launch"]["restarts"])


if __name__ == "__main__":
    run_program(main)
