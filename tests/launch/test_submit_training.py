"""submit_training: a job is submitted once, followed to its end, continued, and its failures said.

AzureML is a stand-in at the border of its SDK, azureml_stand_in/; docs/azureml.md has what it cannot show. A real
Slurm is in test_slurm_training.py.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pretrain_llama.configuration import validate
from pretrain_llama.errors import ConfigError
from pretrain_llama.launch.layout import check_launch
from pretrain_llama.run.history import History
from project import ROOT, SCRIPTS, Project, Result, run_script

WORKSPACE = {"AZURE_SUBSCRIPTION_ID": "s", "AZURE_RESOURCE_GROUP": "g", "AZUREML_WORKSPACE_NAME": "w"}
STAND_IN = ROOT / "tests" / "azureml_stand_in"


@pytest.fixture
def folder(built: Project, tmp_path: Path) -> Path:
    """A run folder of tiny that is fit for AzureML, and allows one restart."""
    folder = built.copied_run(tmp_path / "run")
    run = yaml.safe_load((folder / "run.yaml").read_text()) | {"on_change": "refuse"}
    run["launch"] |= {"launcher": "azureml", "restarts": 1}
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    return folder


class Workspace:
    """What the stand-in for AzureML reads and writes."""

    def __init__(self, folder: Path, states: str, ends: str = "finished.json") -> None:
        self.folder = folder
        (folder / "output" / "checkpoints").mkdir(parents=True)
        (folder / "output" / ends).write_text("{}")
        (folder / "states").write_text(states)

    def calls(self, what: str) -> list[Any]:
        lines = map(json.loads, (self.folder / "calls").read_text().splitlines())
        return [with_what for called, with_what in lines if called == what]

    def submit(self, run_folder: Path, *options: str, **environment: str) -> Result:
        command = [sys.executable, str(SCRIPTS / "submit_training.py"), str(run_folder), *options]
        variables = {"AZUREML_COMPUTE": "gpu", "STAND_IN_WORKSPACE": str(self.folder), "PYTHONPATH": str(STAND_IN)}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AZURE")}
        environment = inherited | WORKSPACE | variables | environment
        return subprocess.run(command, env=environment, capture_output=True, text=True)


def submissions(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "output" / "submissions.jsonl").read_text().splitlines()]


def test_a_job_is_submitted_followed_and_its_output_fetched(folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", "Queued UNREACHABLE Completed")
    result = workspace.submit(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert workspace.calls("connect") == [["DefaultAzureCredential", "s", "g", "w"]]
    (submitted,) = workspace.calls("submit")
    assert submitted["compute"] == "gpu"
    assert re.findall(r"\d job brave_lamp_1: (\w+)", result.stdout) == ["Queued", "cannot", "Completed"]
    assert "aaaa" not in result.stdout, "no signature of a URL is printed"
    (listed,) = submissions(folder)
    assert (listed["launcher"], listed["job"]) == ("azureml", "brave_lamp_1")
    assert listed["url"] == "https://ml.azure.com/runs/brave_lamp_1" and listed["url"] in result.stdout
    assert {"finished.json", "checkpoints", "submissions.jsonl"} == {
        path.name for path in (folder / "output").iterdir()
    }
    assert not list(folder.glob(".azureml-*"))


@pytest.mark.parametrize(("written", "taken"), [(None, "gpu"), ("azureml:own", "own")])
def test_the_environments_compute_is_for_a_job_that_names_none(
    folder: Path, tmp_path: Path, written: str | None, taken: str
) -> None:
    job = yaml.safe_load((folder / "job.yaml").read_text())
    assert job.pop("compute") == "azureml:AZUREML_COMPUTE"
    (folder / "job.yaml").write_text(yaml.safe_dump(job | ({"compute": written} if written else {})))
    workspace = Workspace(tmp_path / "workspace", "Running")
    result = workspace.submit(folder, "--no-wait")
    assert result.returncode == 0, result.stdout + result.stderr
    assert [submitted["compute"] for submitted in workspace.calls("submit")] == [taken]


def test_a_job_that_goes_on_is_waited_for_and_not_submitted_again(folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", "Running")
    assert workspace.submit(folder, "--no-wait").returncode == 0
    (workspace.folder / "states").write_text("Running Running Completed")
    result = workspace.submit(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "job brave_lamp_1 goes on" in result.stdout
    assert len(workspace.calls("submit")) == len(submissions(folder)) == 1


def test_a_job_that_was_completed_while_nobody_waited_is_fetched_and_not_submitted_again(
    folder: Path, tmp_path: Path, built: Project
) -> None:
    workspace = Workspace(tmp_path / "workspace", "Running")
    assert workspace.submit(folder, "--no-wait").returncode == 0
    (workspace.folder / "states").write_text("Completed")
    trained = built.folder / "results" / "runs" / "tiny" / "output"
    shutil.copytree(trained, workspace.folder / "output", dirs_exist_ok=True)
    for options in ((), ("--no-wait",)):
        result = workspace.submit(folder, *options)
        assert result.returncode == 0, result.stdout + result.stderr
        assert (folder / "output" / "finished.json").exists()
        assert len(workspace.calls("submit")) == len(workspace.calls("download")) == 1


def test_what_was_trained_here_since_a_job_is_not_replaced_by_what_it_wrote(folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", "Completed", ends="continue.json")
    assert workspace.submit(folder, "--no-wait").returncode == 0
    History(folder / "output").note("start")
    assert workspace.submit(folder, "--no-wait").returncode == 0
    assert (len(workspace.calls("submit")), workspace.calls("download")) == (2, [])


def test_a_training_that_says_continue_is_submitted_again(folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", "Completed", ends="continue.json")
    result = workspace.submit(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [job["job"] for job in submissions(folder)] == ["brave_lamp_1", "brave_lamp_2"]
    assert (folder / "output" / "finished.json").exists()


def test_restarts_are_bounded(folder: Path, tmp_path: Path) -> None:
    run = yaml.safe_load((folder / "run.yaml").read_text())
    run["launch"]["restarts"] = 0
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    workspace = Workspace(tmp_path / "workspace", "Completed", ends="continue.json")
    result = workspace.submit(folder)
    assert result.returncode == 2
    assert "job brave_lamp_1 ended, Completed, and the training is not finished" in result.stderr
    assert "https://ml.azure.com/runs/brave_lamp_1" in result.stderr


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
def test_a_failed_job_is_said_and_a_new_one_submitted_by_the_same_command(
    folder: Path, tmp_path: Path, state: str
) -> None:
    workspace = Workspace(tmp_path / "workspace", state)
    result = workspace.submit(folder)
    assert result.returncode == 2
    assert f"job brave_lamp_1 ended, {state}" in result.stderr
    assert workspace.calls("download") == []
    assert workspace.submit(folder, "--no-wait").returncode == 0
    assert len(workspace.calls("submit")) == 2


def test_what_stops_a_submission_is_said_and_nothing_is_listed(folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", "Completed")
    result = workspace.submit(folder, AZUREML_WORKSPACE_NAME="", AZURE_RESOURCE_GROUP="")
    assert result.returncode == 2
    assert "AZURE_RESOURCE_GROUP, the name of the workspace's resource group; AZUREML_WORKSPACE_NAME" in result.stderr
    result = workspace.submit(folder, AZUREML_COMPUTE="")
    assert result.returncode == 2 and "compute: none is given" in result.stderr
    (workspace.folder / "refuses").write_text("quota is 0 for https://x?sig=" + "b" * 43)
    result = workspace.submit(folder)
    assert result.returncode == 2
    assert "RuntimeError: quota is 0" in result.stderr and "bbbb" not in result.stderr
    assert "Traceback" not in result.stderr
    assert not (folder / "output").exists()


def test_without_the_sdk_it_says_how_to_install_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "azure" / "ai" / "ml").mkdir(parents=True)
    (tmp_path / "azure" / "ai" / "ml" / "__init__.py").write_text("raise ImportError('no such thing')")
    result = Workspace(tmp_path / "workspace", "").submit(folder, PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    assert "the SDK is not installed: no such thing" in result.stderr and "make azureml" in result.stderr


def test_a_local_run_is_not_submitted(built: Project) -> None:
    result = run_script("submit_training.py", built.folder / "results" / "runs" / "tiny")
    assert result.returncode == 2
    assert "the launcher is 'local': nothing is submitted" in result.stderr


def test_slurm_that_is_not_here_is_said(folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", "")
    result = workspace.submit(folder, "--launcher", "slurm", PATH=str(tmp_path))
    assert result.returncode == 2
    assert "sbatch is not here" in result.stderr


def test_snakemake_submits_what_is_no_machine_of_its_own(built: Project, tmp_path: Path) -> None:
    project = built.copied_to(tmp_path / "project")
    project.run["launch"] = {"launcher": "slurm"}
    project.save()
    pending = project.pending()
    assert pending["submit_training"] == 1 and "launch_training" not in pending
    project.run["parallel"]["data"], project.run["launch"]["processes_per_node"] = 4, 3
    project.save()
    result = project.snakemake("--dry-run")
    assert result.returncode != 0
    assert "do not fill nodes of 3" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        ({"processes_per_node": 3}, "4 processes, tensor x pipeline x data, do not fill nodes of 3"),
        ({"slurm": {"time_limit_minutes": 5, "save_seconds": 300}}, "300 before the end of 5 minutes is before the be"),
    ],
)
def test_what_cannot_be_launched_is_refused_before_any_job(launch: dict[str, Any], said: str) -> None:
    training = {"iterations": 1, "sequence_length_tokens": 1, "learning_rate": 1.0}
    training |= {"micro_batch_size_sequences": 1, "global_batch_size_sequences": 4}
    chosen = {"tokenizer": "t", "checkpoint": "c", "parallel": {"data": 4}, "training": training, "launch": launch}
    with pytest.raises(ConfigError, match=re.escape(said)):
        check_launch(validate(chosen, "run", "run.yaml"), "run.yaml")
