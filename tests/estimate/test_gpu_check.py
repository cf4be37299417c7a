"""benchmarks/gpu_check.py where there is no GPU: it says so, and its table can be filled."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pretrain_llama.run.trainers import PROGRAMS
from pretrain_llama.tables import text_table
from project import ROOT, SCRIPTS

PROGRAM = ROOT / "benchmarks" / "gpu_check.py"


@pytest.fixture(scope="module")
def gpu_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module  # where its dataclass looks for itself
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_it_says_so_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, PROGRAM, "--scratch", tmp_path / "scratch"]
    result = subprocess.run(
        command, env={"PYTHONPATH": str(SCRIPTS), "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True
    )
    assert result.returncode == 2, result.stderr
    assert "no GPU is here: nothing was measured" in result.stderr + result.stdout
    assert not (tmp_path / "scratch").exists()


def test_a_row_is_of_the_steps_after_the_first_two(gpu_check: ModuleType) -> None:
    size = gpu_check.Size(steps=6, save_at=4)
    log = [
        {"step_seconds": seconds, "mfu": 0.1 / seconds, "memory_bytes": memory * 10**9}
        for seconds, memory in ((9.0, 10), (5.0, 20), (0.2, 20), (0.4, 20), (0.3, 25), (0.3, 25))
    ]
    row = gpu_check.row("megatron_lm", 4096, log, "equal", size)
    assert row == ("megatron_lm", "4,096", "0.300", "37.5%", "20.0", "25.0", "equal")
    assert len(row) == len(gpu_check.HEAD)
    for step in log:
        del step["mfu"]
    assert gpu_check.row("megatron_lm", 4096, log, "equal", size)[3] == "unknown peak"
    assert "GB with a save" in text_table(gpu_check.HEAD, [row], words=1, notes=1)


def test_each_trainer_trains_each_length_while_there_is_time(
    gpu_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two resumptions are compared by what the trainings log; here, of a training that only logs."""
    size, trained = gpu_check.Size(steps=3, save_at=2, lengths=(32, 64)), []

    class Folder:
        folder = tmp_path / "copy"

        def copied(self, folder: Path, **changes: object) -> "Folder":
            (self.folder / "output" / "checkpoints").mkdir(parents=True)
            return self

    def train(folder: Path, trainer: str) -> list[dict[str, float]]:
        (folder / "output" / "checkpoints" / "iter_0000003").mkdir()
        trained.append(trainer)
        loss = 1.0 + (trainer == "megatron_lm") * len(trained) * 1e-3
        return [{"loss": loss, "step_seconds": 1.0, "mfu": 0.4, "memory_bytes": 10**9}] * 3

    monkeypatch.setattr(gpu_check, "make_folder", lambda *_: Folder())
    monkeypatch.setattr(gpu_check, "train", train)
    rows = list(gpu_check.measure(tmp_path, size, deadline=float("inf")))
    assert [row[:2] for row in rows] == [(name, f"{length}") for length in (32, 64) for name in PROGRAMS]
    assert [row[-1] for row in rows] == ["equal", "differ by 0.001"] * 2
    late = list(gpu_check.measure(tmp_path, size, deadline=0.0))
    assert {row[-1] for row in late} == {"no time left"} and len(late) == 4
