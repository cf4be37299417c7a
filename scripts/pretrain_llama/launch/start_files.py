"""Write the files that start a run folder: here, on Slurm, on AzureML, in a container, by Megatron-LM."""

import shutil
from pathlib import Path

import yaml

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.files import write_text
from pretrain_llama.launch import azureml_job, megatron_lm, readme, slurm_script
from pretrain_llama.run.trainers import why_not
from pretrain_llama.settings import RunSettings

NAMES = ("README.md", "launch.sh", "launch.sbatch", "job.yaml", ".amlignore", megatron_lm.FILE)
LAUNCH = """\
#!/usr/bin/env bash
# Start this run on this machine, or resume it. Needs the packages of sources/requirements.lock.
cd "$(dirname "${BASH_SOURCE[0]}")" || exit
if ! python -c 'import sys; from importlib.util import find_spec; sys.exit(find_spec("torch") is None)'; then
    echo "operation error: no python with the packages of this run: $(command -v python || echo none on PATH)" >&2
    echo "  where: $PWD/sources/requirements.lock" >&2
    echo "  next:  activate their environment, or pip install --requirement this file" >&2
    exit 2
fi
exec python code/scripts/launch_training.py .
"""


def write_launch_files(
    output: Path, root: Path, run: RunSettings, architecture: Architecture, probabilities: dict[str, float]
) -> None:
    """Write NAMES, and environment/ with all that its image is built from, into a run folder.

    Arguments for Megatron-LM are left out where it cannot train the run.

    Args:
        output: the run folder; its data, checkpoint and sources are there.
        root: of the repository.
        run: run.yaml.
        architecture: of the model.
        probabilities: of the shards, by counted name.

    Raises:
        ConfigError: the processes do not fill whole nodes.
    """
    name = output.resolve().name
    parts = [part for part in azureml_job.LARGE_PARTS if (output / part).is_dir()]
    job = yaml.safe_dump(azureml_job.job(name, run, parts), sort_keys=False, width=1000)
    write_text(output / "launch.sh", LAUNCH)
    write_text(output / "launch.sbatch", slurm_script.script(name, run))
    write_text(output / "job.yaml", job)
    write_text(output / ".amlignore", azureml_job.IGNORED)
    no_megatron_lm = why_not(run, architecture)
    (output / megatron_lm.FILE).unlink(missing_ok=True)
    if not no_megatron_lm:
        write_text(output / megatron_lm.FILE, megatron_lm.arguments_script(run, architecture, probabilities))
    write_text(output / "README.md", readme.text(name, run, no_megatron_lm))
    environment = output / "environment"
    environment.mkdir()
    for file in ("Dockerfile", "install.py", "requirements.lock"):
        shutil.copy(root / "envs" / "training" / file, environment)
