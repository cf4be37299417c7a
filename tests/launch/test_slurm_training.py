"""launch.sbatch and submit_training, through a real Slurm: two processes, told to end, requeued, finished."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import slurm
from pretrain_llama.configuration import load_run
from pretrain_llama.files import write_text
from pretrain_llama.launch import slurm_script
from pretrain_llama.run.log_file import read_log
from processes import wait_for
from project import SCRIPTS, run_script
from trainings import Training

pytestmark = pytest.mark.skipif(not slurm.installed(), reason="slurmctld, slurmd or munged is missing: make test-slurm")

ITERATIONS, WAIT_SECONDS = 100, 120
ASKED = {"gpus": False, "cpus_per_process": 1, "time_limit_minutes": 5, "save_seconds": 60}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with slurm.running_slurm():
        yield


@pytest.fixture
def folder(training: Training, tmp_path: Path) -> Path:
    """A run folder of two processes that trains for some seconds."""
    changed = {
        "parallel": {"data": 2},
        "training": {"iterations": ITERATIONS},
        "launch": {"launcher": "slurm", "slurm": ASKED},
    }
    copied = training.copied(tmp_path / "run", **changed).folder
    write_text(copied / "launch.sbatch", slurm_script.script("run", load_run(copied)))
    return copied


def described(job: str) -> dict[str, str]:
    """What Slurm says of a job."""
    said = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
    return dict(word.split("=", 1) for word in said.split() if "=" in word)


def test_a_training_that_is_told_to_end_saves_and_goes_on_in_the_queue(folder: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "submit_training.py"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as submitting:
        wait_for(lambda: len(read_log(folder / "output")) > 3 or submitting.poll() is not None, WAIT_SECONDS)
        (submitted,) = map(json.loads, (folder / "output" / "submissions.jsonl").read_text().splitlines())
        # As Slurm does ahead of the time limit: to the processes, not to the script.
        subprocess.run(["scancel", "--signal=TERM", submitted["job"]], check=True)
        said = submitting.communicate(timeout=WAIT_SECONDS)[0]
    log = Path(submitted["url"]).read_text()
    assert submitting.returncode == 0, said + log
    assert "SIGTERM: saved iteration" in log and "resum" in log
    job = described(submitted["job"])
    assert (job["Restarts"], job["JobState"], job["Requeue"]) == ("1", "COMPLETED", "1")
    assert (job["NumTasks"], job["TimeLimit"]) == ("2", "00:05:00")
    assert [record["iteration"] for record in read_log(folder / "output")] == list(range(1, ITERATIONS + 1))
    assert (folder / "output" / "finished.json").exists() and not (folder / "output" / "continue.json").exists()
    assert re.search(rf"job {submitted['job']}: RUNNING", said)


def test_a_job_that_fails_is_said_with_its_log(folder: Path) -> None:
    (folder / "code" / "scripts" / "train.py").write_text("raise SystemExit('no such luck')")
    result = run_script("submit_training.py", folder)
    assert result.returncode == 2
    job = re.search(r"submitted job (\d+)", result.stdout)[1]
    assert f"job {job} ended, FAILED, and the training is not finished" in result.stderr
    assert f"where: {folder / f'slurm-{job}.log'}" in result.stderr
    assert "no such luck" in (folder / f"slurm-{job}.log").read_text()


def test_what_slurm_refuses_is_said(folder: Path) -> None:
    run = load_run(folder)
    run["launch"]["slurm"]["partition"] = "nowhere"
    write_text(folder / "launch.sbatch", slurm_script.script("run", run))
    result = run_script("submit_training.py", folder)
    assert result.returncode == 2
    assert "sbatch: " in result.stderr and "invalid partition" in result.stderr
    assert not (folder / "output" / "submissions.jsonl").exists()
