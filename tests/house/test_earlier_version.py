"""What was made with megatron-core 0.16.1 on Python 3.11: nothing of it is made again, and its training goes on.

The archive in tests/data is the project of tests/support/project.py, built by the programs of 0.3.0 up to its run
folder, its training killed after the checkpoint of iteration 3; distributed_output/ is the output of the same with the
distributed optimizer on two processes; losses.json has those of a training of it that nobody killed.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pretrain_llama.configuration import load_run
from pretrain_llama.errors import PretrainError
from pretrain_llama.run import packages
from pretrain_llama.run.folder import open_run_folder
from pretrain_llama.run.history import History
from pretrain_llama.run.log_file import read_log
from project import ROOT, Project, run_script
from screens import check_screen
from trainings import Training

ARCHIVE = Path(__file__).parents[1] / "data" / "project_of_megatron_core_0.16.1.tar.xz"
EARLIER = ROOT / ".venv-megatron-0.16" / "bin"  # with Python 3.11
with_earlier = pytest.mark.skipif(not EARLIER.exists() and "CI" not in os.environ, reason="make megatron-0.16")
NOT_YET_MADE = {"launch_training", "export_checkpoint", "sample_text", "summarize_run"}
PLOTTED = {"plot_documents", "plot_mixture", "plot_training"}
# A training that goes on does so with the programs of now, in a folder that they write.
GOING_ON = {"export_tokenizer", "write_run_folder"}


class EarlierProject(Project):
    """The project of the archive, in a clone of the programs of now."""

    def __init__(self, folder: Path) -> None:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(folder, filter="tar")
        self.folder = folder
        self.link_programs()
        self.run_folder = folder / "results" / "runs" / "tiny"
        self.losses = json.loads((folder / "losses.json").read_text())


@pytest.fixture
def earlier(tmp_path: Path) -> EarlierProject:
    return EarlierProject(tmp_path / "project")


def losses(output: Path) -> list[float]:
    return [record["loss"] for record in read_log(output)]


def test_nothing_of_it_is_made_again(earlier: EarlierProject) -> None:
    assert earlier.pending().keys() <= NOT_YET_MADE | PLOTTED | GOING_ON
    assert losses(earlier.run_folder / "output") == earlier.losses[:3], "it was killed there"


def test_of_a_training_that_ended_only_pages_are_made(earlier: EarlierProject) -> None:
    folder = earlier.run_folder
    (folder / "output" / "finished.json").write_text("{}")
    (folder / "export" / "final").mkdir(parents=True)
    for name in ("sample.txt", "summary.txt", "summary.json"):
        (folder / name).write_text("{}")
    assert earlier.pending().keys() <= PLOTTED
    manifest = "results/runs/tiny/manifest.json"
    assert not earlier.pending(manifest), "nor where its folder is asked for"
    assert earlier.pending(manifest, "--forcerun", "write_run_folder").keys() == GOING_ON


def test_its_own_programs_are_not_started_on_other_packages(earlier: EarlierProject) -> None:
    result = run_script("launch_training.py", earlier.run_folder)
    check_screen(
        result, "train with megatron-core 0.16.1, here is 0.19.2", "to the same losses: snakemake results/runs/"
    )
    assert "in an environment with Python 3.11 and the packages of" in result.stderr
    assert losses(earlier.run_folder / "output") == earlier.losses[:3]


def test_it_goes_on_with_the_programs_of_now_to_the_same_losses(earlier: EarlierProject) -> None:
    result = earlier.snakemake("results/runs/tiny/output/finished.json", "--forcerun", "write_run_folder")
    assert result.returncode == 0, result.stdout + result.stderr
    assert losses(earlier.run_folder / "output") == pytest.approx(earlier.losses, abs=1e-6)
    resumed = History(earlier.run_folder / "output").events("resumed")
    assert [event["iteration"] for event in resumed] == [3]
    assert resumed[0]["packages"] == packages.installed()


def test_a_checkpoint_of_its_distributed_optimizer_goes_on(earlier: EarlierProject) -> None:
    folder = earlier.run_folder
    shutil.rmtree(folder / "output")
    (earlier.folder / "distributed_output").rename(folder / "output")
    copy = Training(folder, load_run(folder))
    copy.change(parallel={"data": 2, "distributed_optimizer": True})
    assert "resumed at iteration 3" in copy.train()
    assert copy.losses() == pytest.approx(earlier.losses, abs=1e-6)


@pytest.mark.parametrize("distributed", [False, True])
def test_a_new_phase_of_it_may_have_other_rates(earlier: EarlierProject, distributed: bool) -> None:
    folder = earlier.run_folder
    copy = Training(folder, load_run(folder))
    if distributed:
        shutil.rmtree(folder / "output")
        (earlier.folder / "distributed_output").rename(folder / "output")
        copy.change(parallel={"data": 2, "distributed_optimizer": True})
    changed = {"learning_rate": 1.0e-4, "min_learning_rate": 1.0e-5, "weight_decay": 0.3}
    copy.change(training=changed, on_change="new_phase")
    assert "resumed at iteration 3" in copy.train()
    assert copy.losses()[:4] == pytest.approx(earlier.losses[:4], abs=1e-6), "of weights before its first step"
    assert read_log(copy.output)[3]["learning_rate"] <= 1.0e-4


def test_the_trainer_asks_for_the_megatron_core_that_it_was_written_for(
    earlier: EarlierProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = (ROOT / "envs" / "requirements.lock").read_text()
    assert f"\nmegatron-core=={packages.WRITTEN_FOR}." in lock
    folder = open_run_folder(earlier.run_folder)
    packages.check_trainer(folder)
    for found in ("0.16.1", "0.20.0", None):
        monkeypatch.setattr(packages, "_version", lambda _, found=found: found)
        with pytest.raises(PretrainError, match=f"megatron-core 0.19, here is {found or 'none'}"):
            packages.check_trainer(folder)


@with_earlier
def test_it_goes_on_with_the_programs_and_packages_that_it_began_with(earlier: EarlierProject) -> None:
    environment = {"PATH": f"{EARLIER}:/usr/bin:/bin", "HOME": str(earlier.folder)}
    launch = ["bash", str(earlier.run_folder / "launch.sh")]
    result = subprocess.run(launch, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert losses(earlier.run_folder / "output") == pytest.approx(earlier.losses, abs=1e-6)


def loaded(python: Path, checkpoint: Path) -> dict[str, Any]:
    """What the megatron-core of a Python loads of a checkpoint."""
    command = [str(python), str(ROOT / "tests" / "support" / "load_with_megatron.py"), str(checkpoint)]
    result = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@with_earlier
def test_what_is_converted_is_read_by_both_megatrons(tmp_path: Path, llama: Path) -> None:
    assert run_script("convert_checkpoint.py", "--source", llama, "--output", tmp_path / "converted").returncode == 0
    checkpoint = tmp_path / "converted" / "release"
    now, then = loaded(Path(sys.executable), checkpoint), loaded(EARLIER / "python", checkpoint)
    assert now == then and (now["args"]["num_layers"], now["iteration"]) == (2, 0)
    assert len(now["tensors"]) == 9, "embedding, output, final norm, and six weights of all layers"


@with_earlier
def test_an_earlier_python_is_told_which_one_is_needed() -> None:
    command = [str(EARLIER / "python"), str(ROOT / "scripts" / "merge_shard.py"), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    check_screen(result, "operation error: Python 3.12 or 3.13 is needed, this is 3.11.", "make install && source")
