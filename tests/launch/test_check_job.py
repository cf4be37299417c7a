"""job.yaml: what is wrong with one is said, offline; and its command trains the folder as AzureML would call it."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pretrain_llama.configuration import load_run
from pretrain_llama.launch import azureml_job
from pretrain_llama.launch.azureml_checks import problems_of
from processes import free_ports
from project import SCRIPTS, Project, run_script

HAS_SDK = importlib.util.find_spec("azure.ai") is not None
Job = dict[str, Any]


@pytest.fixture(scope="module")
def folder(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that is fit for AzureML; a test leaves it as it was."""
    folder = built.copied_run(tmp_path_factory.mktemp("job") / "run")
    run = yaml.safe_load((folder / "run.yaml").read_text())
    run |= {"on_change": "refuse"}
    run["launch"]["azureml"]["compute"] = "gpu-cluster"
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    job = yaml.safe_load((folder / "job.yaml").read_text())
    job["compute"] = "azureml:gpu-cluster"
    (folder / "job.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    return folder


def problems(folder: Path, change: Callable[[Job], object] = lambda job: None, **run: Any) -> list[str]:
    job = yaml.safe_load((folder / "job.yaml").read_text())
    change(job)
    return list(problems_of(job, folder, load_run(folder) | run))


def test_a_job_as_written_has_no_problem(folder: Path) -> None:
    assert problems(folder) == []
    result = run_script("check_job.py", folder)
    assert result.returncode == 0, result.stderr
    assert "job.yaml: no problem found" in result.stdout
    assert ("not checked: azure-ai-ml is not installed" in result.stdout) == (not HAS_SDK)


WRONG: list[tuple[str, Callable[[Job], object], str]] = [
    (
        "input",
        lambda j: j.update(command=j["command"].replace("inputs.data", "inputs.date")),
        "inputs.date}} is not",
    ),
    ("output", lambda j: j["outputs"].clear(), "outputs.output}} is not defined; the outputs are none"),
    ("kind", lambda j: j.update(command=j["command"] + " ${{parameters.x}}"), "is neither an input nor an output"),
    ("unused", lambda j: j["inputs"].update(more={"type": "uri_folder", "path": "./data"}), "inputs.more: the command"),
    ("torchrun", lambda j: j.update(command=j["command"].replace("python", "torchrun")), "torchrun would start"),
    ("accelerate", lambda j: j.update(command="accelerate launch " + j["command"]), "accelerate would start"),
    ("module", lambda j: j.update(command="python -m torch.distributed.run x; " + j["command"]), "distributed.run wou"),
    ("nodes", lambda j: j["resources"].update(instance_count=2), "2 nodes x 1 processes are 2, and tensor 1"),
    ("processes", lambda j: j["distribution"].update(process_count_per_instance=8), "1 nodes x 8 processes are 8"),
    ("mpi", lambda j: j["distribution"].update(type="mpi"), "write type: pytorch"),
    ("no memory", lambda j: j["resources"].pop("shm_size"), "64m is too little for NCCL"),
    ("little memory", lambda j: j["resources"].update(shm_size="900m"), "900m is too little for NCCL"),
    ("memory", lambda j: j["resources"].update(shm_size="64 GB"), "'64 GB' is no size"),
    ("path", lambda j: j["inputs"]["data"].update(path="./nowhere"), "inputs.data.path: ./nowhere is not there"),
    ("outside", lambda j: j["inputs"]["data"].update(path="../.."), "../.. lies outside of the run folder"),
    ("code", lambda j: j.update(code=".."), "code: .. lies outside of the run folder"),
    ("asset", lambda j: j["inputs"]["data"].update(path="data"), "as the name of an asset; for a folder, write ./data"),
    ("image", lambda j: j["environment"]["build"].update(path="./sources"), "Dockerfile is not there"),
    ("no board", lambda j: j.pop("services"), "no tensor_board shows the training"),
    ("board", lambda j: j["services"]["tensorboard"].update(log_dir="outputs/tb"), "and the command writes elsewhere"),
    (
        "mounted board",
        lambda j: j["services"]["tensorboard"].update(log_dir="${{outputs.output}}"),
        "a mounted file is stored only when it is closed",
    ),
    ("one board", lambda j: j["services"]["tensorboard"].pop("nodes"), "write nodes: all"),
    ("key", lambda j: j["environment_variables"].update(WANDB_API_KEY="x"), "variables.WANDB_API_KEY: looks like a se"),
    ("sas", lambda j: j["inputs"]["data"].update(path="https://a/b?sig=" + "s3cret" * 8), "inputs.data.path: looks li"),
    ("compute", lambda j: j.pop("compute"), "compute: none is given"),
    ("indentation", lambda j: j.update(inputs="data"), "inputs: a mapping of keys to values expected"),
]


@pytest.mark.parametrize(("change", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_azure_ai_ml_misses_is_said(folder: Path, change: Callable[[Job], object], said: str) -> None:
    found = problems(folder, change)
    assert any(said in problem for problem in found), found
    assert not any("s3cret" in problem for problem in found)


def test_a_job_does_not_restart_and_names_a_compute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("on_change: restart" in problem for problem in problems(folder, on_change="restart"))
    monkeypatch.delenv("AZUREML_COMPUTE", raising=False)

    def unnamed(job: Job) -> None:
        job["compute"] = f"azureml:{azureml_job.COMPUTE}"

    assert any("AZUREML_COMPUTE" in problem for problem in problems(folder, unnamed))
    monkeypatch.setenv("AZUREML_COMPUTE", "gpu-cluster")
    assert problems(folder, unnamed) == []


def test_code_that_is_too_large_is_said(folder: Path) -> None:
    extra = folder / "notes"
    extra.mkdir()
    for number in range(2001):
        (extra / f"{number}").touch()
    try:
        assert any("AzureML takes 2,000" in problem for problem in problems(folder))
    finally:
        shutil.rmtree(extra)
    ignored = folder / ".amlignore"
    kept = ignored.read_text()
    ignored.write_text("/data/\n")
    try:
        assert any(".amlignore: lacks" in problem and "/checkpoint/" in problem for problem in problems(folder))
    finally:
        ignored.write_text(kept)


@pytest.mark.parametrize("broken", ["", "inputs: [", None])
def test_a_missing_or_broken_job_is_refused(folder: Path, tmp_path: Path, broken: str | None) -> None:
    run = shutil.copytree(folder, tmp_path / "run")
    (run / "job.yaml").unlink() if broken is None else (run / "job.yaml").write_text(broken)
    result = run_script("check_job.py", run)
    assert result.returncode == 2
    assert "configuration error: no job of Azure" in result.stderr


@pytest.mark.skipif(not HAS_SDK, reason="azure-ai-ml is not installed: make azureml")
def test_what_azure_ai_ml_says_is_passed_on(folder: Path, tmp_path: Path) -> None:
    from azure.ai.ml import load_job
    from azure.ai.ml._utils._asset_utils import get_ignore_file, get_upload_files_from_folder

    run = shutil.copytree(folder, tmp_path / "run")
    assert load_job(run / "job.yaml").inputs["data"].path == "./data"
    uploaded = get_upload_files_from_folder(run, ignore_file=get_ignore_file(run))
    parts = {Path(path).relative_to(run).parts[0] for path, _ in uploaded}
    assert {"code", "run.yaml", "manifest.json", "mixture"} <= parts
    assert not parts & {"data", "checkpoint", "output"}, "what is large is an input"

    job = yaml.safe_load((run / "job.yaml").read_text())
    for change, said in [
        ({"colour": "red"}, "azure-ai-ml, colour: Unknown field."),
        ({"resources": {"instance_count": "two", "shm_size": "64g"}}, "instance_count: Not a valid integer."),
        ({"identity": {"type": "me"}}, "azure-ai-ml, type: Value 'me' passed is not in set"),
    ]:
        (run / "job.yaml").write_text(yaml.safe_dump(job | change))
        result = run_script("check_job.py", run)
        assert result.returncode == 2
        assert said in result.stderr


def test_values_come_from_the_run(folder: Path) -> None:
    run = load_run(folder)
    run["parallel"] |= {"tensor": 2, "data": 8}
    run["launch"] |= {"processes_per_node": 8}
    run["launch"]["azureml"] |= {
        "environment": "registry.azurecr.io/training:1",
        "data": "azureml://datastores/d/paths/indexed",
        "data_mode": "download",
        "identity": "managed",
        "timeout_hours": 1.5,
        "environment_variables": {"NCCL_DEBUG": "WARN"},
    }
    job = azureml_job.job("big", run, ["data", "checkpoint"])
    assert (job["resources"]["instance_count"], job["distribution"]["process_count_per_instance"]) == (2, 8)
    assert job["environment"] == {"image": "registry.azurecr.io/training:1"}
    assert job["inputs"]["data"] == {
        "type": "uri_folder",
        "mode": "download",
        "path": "azureml://datastores/d/paths/indexed",
    }
    assert job["inputs"]["checkpoint"]["mode"] == "ro_mount"
    assert job["outputs"]["output"]["path"].endswith("/pretrain-llama/big/output")
    assert (job["identity"], job["limits"]) == ({"type": "managed"}, {"timeout": 5400})
    assert job["environment_variables"]["NCCL_DEBUG"] == "WARN"
    assert list(problems_of(job, folder, run)) == []


def test_the_parts_of_a_run_are_mounted_by_all_processes_at_once(tmp_path: Path) -> None:
    run, data = tmp_path / "run", tmp_path / "mnt" / "data"
    run.mkdir()
    data.mkdir(parents=True)
    command = [sys.executable, str(SCRIPTS / "mount_parts.py"), str(run), f"data={data}"]
    processes = [subprocess.Popen(command) for _ in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    assert (run / "data").readlink() == data and [path.name for path in run.iterdir()] == ["data"]

    result = run_script("mount_parts.py", run, "output=/nowhere")
    assert result.returncode == 2 and "not mounted" in result.stderr
    (run / "checkpoint").mkdir()
    result = run_script("mount_parts.py", run, f"checkpoint={data}")
    assert result.returncode == 2 and "a part of the run folder is here" in result.stderr
    assert (run / "checkpoint").is_dir()


def test_the_command_trains_as_azureml_calls_it(folder: Path, tmp_path: Path) -> None:
    """Two processes of one node, with the ranks that AzureML sets; code, inputs and output in folders of their own."""
    parts = [part for part in azureml_job.LARGE_PARTS if (folder / part).exists()]
    mounts = {part: tmp_path / "mnt" / part for part in (*parts, "output")}
    node = shutil.copytree(folder, tmp_path / "wd", ignore=lambda path, _: parts if Path(path) == folder else [])
    for part in parts:
        shutil.copytree(folder / part, mounts[part])
    mounts["output"].mkdir()
    run = yaml.safe_load((node / "run.yaml").read_text())
    run["parallel"]["data"] = 2
    (node / "run.yaml").write_text(yaml.safe_dump(run))
    command = yaml.safe_load((folder / "job.yaml").read_text())["command"]
    command = re.sub(r"\$\{\{(?:in|out)puts\.(\w+)\}\}", lambda match: str(mounts[match[1]]), command)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    (port,) = free_ports()
    ranks = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            ["bash", "-c", command],
            cwd=node,
            env=os.environ | ranks | {"PATH": path, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert (mounts["output"] / "finished.json").exists()
    live, kept = (
        {path.name for path in place.glob("events.*")}
        for place in (node / azureml_job.LIVE_TENSORBOARD, mounts["output"] / "tensorboard")
    )
    assert live and live == kept, "shown live from the node's disk, and copied to the output"
