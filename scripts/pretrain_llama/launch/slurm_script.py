"""Write launch.sbatch: a job of Slurm that trains a run folder."""

import shlex

from pretrain_llama.launch.layout import Layout
from pretrain_llama.run.trainers import program
from pretrain_llama.settings import RunSettings

LOG = "slurm-%j.log"  # in the run folder, by job id


def script(name: str, run: RunSettings) -> str:
    """Return launch.sbatch.

    srun starts one process for each GPU, with their ranks in the environment. Slurm sends SIGTERM to them, and not to
    the script, ahead of the time limit; the trainer saves, says in output/continue.json that it is not finished, and
    ends with 0; the job then goes back into the queue, under the same number.

    Args:
        name: of the run.
        run: run.yaml.
    """
    asked, layout = run["launch"]["slurm"], Layout.of(run)
    options = {
        "job-name": name,
        "partition": asked["partition"],
        "account": asked["account"],
        "nodes": layout.nodes,
        "ntasks-per-node": layout.processes_per_node,
        "cpus-per-task": asked["cpus_per_process"],
        "mem": asked["memory_mb_per_node"] and f"{asked['memory_mb_per_node']}M",
        # Not --gpus-per-task: each process would then see its own GPU alone, and take it for the first.
        "gpus-per-node": layout.processes_per_node if asked["gpus"] else None,
        "time": asked["time_limit_minutes"],
        "signal": f"TERM@{asked['save_seconds']}",
        "output": LOG,
    }
    lines = [f"#SBATCH --{key}={shlex.quote(str(value))}" for key, value in options.items() if value is not None]
    return HEAD + "\n".join(lines) + _body(run)


def _body(run: RunSettings) -> str:
    return BODY.replace("{restarts}", str(run["launch"]["restarts"])).replace("{program}", program(run))


HEAD = """\
#!/usr/bin/env bash
# Start this run on Slurm, or resume it: sbatch launch.sbatch, in this folder, with the packages of
# sources/requirements.lock.
"""
BODY = """
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
[ -e manifest.json ] || { echo "no run folder: $PWD; submit it from there, or with sbatch --chdir" >&2; exit 2; }

code=0
rm -f output/continue.json
srun --kill-on-bad-exit=1 python code/scripts/{program} . || code=$?

# A training that was told to end, before its time was up, has saved, and says so: back into the queue with it.
if [ -e output/continue.json ] && [ "${SLURM_RESTART_COUNT:-0}" -lt {restarts} ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""
