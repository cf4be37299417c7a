"""Training: the same losses however many processes, and however often it is killed; and no silent change."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import yaml

from pretrain_llama.training.log_file import read_log
from project import SCRIPTS, Project, Result, run_script


def make_run(project: Project, name: str, **changes: object) -> Path:
    """Write a run folder like tiny's, with changed keys of run.yaml; return its absolute path."""
    config = project.folder / "config" / "runs" / name
    shutil.copytree(project.folder / "config" / "runs" / "tiny", config, dirs_exist_ok=True)
    run = deepcopy(project.run) | {"on_change": "refuse"}
    for key, value in changes.items():
        run[key] = run.get(key, {}) | value if isinstance(value, dict) else value
    (config / "run.yaml").write_text(yaml.safe_dump(run))
    folder = project.folder / "results" / "runs" / name
    shutil.copytree(project.folder / "results" / "runs" / "tiny" / "mixture", folder / "mixture", dirs_exist_ok=True)
    results = project.folder / "results"
    inputs = {
        "--run": config,
        "--indexed": next((results / "indexed").iterdir()),
        "--tokenizer": next((results / "tokenizers").glob("*/tokenizer.model")),
        "--checkpoint": results / "checkpoints" / "toy-llama_tp=1_pp=1",
    }
    words = [word for pair in inputs.items() for word in pair]
    result = run_script("write_run_folder.py", *words, "--output", folder)
    assert result.returncode == 0, result.stderr
    return folder


def launch(folder: Path) -> Result:
    return run_script("launch_training.py", folder)


def losses(folder: Path) -> list[float]:
    log = read_log(folder / "output")
    assert [record["iteration"] for record in log] == list(range(1, len(log) + 1))
    return [record["loss"] for record in log]


@pytest.fixture(scope="module")
def straight(built: Project) -> list[float]:
    """The losses of the built project's training: one process, never stopped."""
    found = losses(built.folder / "results" / "runs" / "tiny")
    assert len(found) == 6
    assert found[-1] < found[0] - 0.1, "it learns, or the comparisons below say nothing"
    return found


@pytest.mark.parametrize("parallel", [{"tensor": 2}, {"pipeline": 2}, {"data": 2}], ids=str)
def test_two_processes_give_the_losses_of_one(copy: Project, straight: list[float], parallel: dict[str, int]) -> None:
    folder = make_run(copy, "parallel", parallel=parallel)
    result = launch(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert losses(folder) == pytest.approx(straight, abs=1e-5)


def test_a_killed_training_resumes_to_the_same_losses(copy: Project, straight: list[float]) -> None:
    folder = make_run(copy, "killed")
    command = [sys.executable, str(SCRIPTS / "launch_training.py"), str(folder)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(read_log(folder / "output")) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "output" / "finished.json").exists()

    result = launch(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "resuming at iteration 2" in result.stdout or "resuming at iteration 4" in result.stdout
    assert losses(folder) == straight, "bit for bit"
    finished = json.loads((folder / "output" / "finished.json").read_text())
    assert finished == {"iteration": 6, "checkpoint": "output/checkpoints/iter_0000006"}


def test_the_folder_alone_reproduces_the_run(copy: Project, straight: list[float], tmp_path: Path) -> None:
    original = copy.folder / "results" / "runs" / "tiny"
    moved = tmp_path / "elsewhere"
    shutil.copytree(original, moved, ignore=shutil.ignore_patterns("output"))
    shutil.rmtree(copy.folder)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    result = subprocess.run(["bash", str(moved / "launch.sh")], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert losses(moved) == straight


def test_a_changed_run_is_refused_with_its_differences(copy: Project) -> None:
    folder = make_run(copy, "changed", training={"iterations": 2})
    assert launch(folder).returncode == 0
    make_run(copy, "changed", training={"iterations": 4, "log_every_iterations": 3})
    mixture = json.loads((folder / "mixture" / "probabilities.json").read_text())
    first = next(iter(mixture["probabilities"]))
    result = launch(folder)
    assert result.returncode == 2
    assert "the run changed since its training began" in result.stderr
    assert "training: iterations: 2 -> 4\n" in result.stderr, "what only concerns reporting is no change"

    make_run(copy, "changed", training={"iterations": 2})
    mixture["probabilities"][first] /= 2
    (folder / "mixture" / "probabilities.json").write_text(json.dumps(mixture))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["identity"]["mixture"] = mixture["probabilities"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    result = launch(folder)
    assert result.returncode == 2
    assert f"mixture: {first}: " in result.stderr
    assert (folder / "output" / "checkpoints" / "iter_0000002").exists()


def test_the_blend_draws_by_the_probabilities(built: Project) -> None:
    from pretrain_llama.training.data import build_dataset
    from pretrain_llama.training.processes import process_groups
    from pretrain_llama.training.run_folder import open_run_folder

    folder = open_run_folder(built.folder / "results" / "runs" / "tiny")
    with process_groups(1, 1, "a test"):
        dataset = build_dataset(folder)
    drawn = np.bincount(dataset.dataset_index, minlength=len(folder.probabilities))
    wanted = np.array(list(folder.probabilities.values())) * len(dataset)
    assert len(dataset) >= 6 * 8
    assert np.abs(drawn - wanted).max() <= 1


def test_the_manifest_says_what_the_run_was_made_from(built: Project) -> None:
    folder = built.folder / "results" / "runs" / "tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["identity"].keys() == {"training", "tokenizer", "checkpoint", "mixture", "data"}
    assert {"run.yaml", "tokenizer.model", "sources/config.yaml", "sources/corpora.tsv"} <= manifest["files"].keys()
    assert manifest["versions"]["megatron-core"] == "0.16.1"
    data = {path.name for path in (folder / "data").iterdir()}
    assert data == {f"{name}{suffix}" for name in manifest["identity"]["mixture"] for suffix in (".bin", ".idx")}


def test_an_incomplete_folder_is_refused(tmp_path: Path) -> None:
    result = run_script("train.py", tmp_path)
    assert result.returncode == 2
    assert "no complete run folder: manifest.json is missing" in result.stderr


def train_with(environment: dict[str, str], folder: Path) -> Result:
    command = [sys.executable, str(SCRIPTS / "train.py"), str(folder)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


def test_half_an_environment_of_a_launcher_is_refused(built: Project) -> None:
    result = train_with({"RANK": "0", "WORLD_SIZE": "2"}, built.folder / "results" / "runs" / "tiny")
    assert result.returncode == 2
    assert "MASTER_ADDR, MASTER_PORT not set" in result.stderr


def test_a_wrong_number_of_processes_is_refused(copy: Project) -> None:
    folder = make_run(copy, "parallel", parallel={"tensor": 2})
    result = train_with({}, folder)
    assert result.returncode == 2
    assert "1 processes cannot be cut into groups of tensor 2 x pipeline 1" in result.stderr
    assert not (folder / "output").exists()


def test_a_failing_process_ends_the_launch(copy: Project) -> None:
    folder = make_run(copy, "failing", parallel={"data": 2})
    next((folder / "checkpoint" / "release").glob("*.distcp")).unlink()
    result = launch(folder)
    assert result.returncode == 2
    assert "of 2 ended with exit code" in result.stderr
    assert "resumes from the newest checkpoint" in result.stderr
