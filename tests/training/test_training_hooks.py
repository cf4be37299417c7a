"""Hooks beside a training: what they run, what is kept of them, and that their failure never stops it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pretrain_llama.files import read_json
from pretrain_llama.run import hooks
from pretrain_llama.run.checkpoint_files import prune
from pretrain_llama.run.history import History
from pretrain_llama.training.hooks import Hooks
from project import run_script
from trainings import Training, copied_with_output

# As lm-eval would be called; it sees what a process of the training sees, but for ranks and GPUs.
LOOK = """echo looked at
python -c '
import json, os
ids = json.load(open(os.environ["EXPORT"] + "/config.json"))["vocab_size"]
seen = {"job": os.environ.get("SLURM_JOB_ID"), "gpus": os.environ["CUDA_VISIBLE_DEVICES"]}
print(json.dumps({"ids": ids, "results": {"of": {"iteration": int(os.environ["ITERATION"])}}} | seen))'"""


@pytest.fixture
def hooked(training: Training, llama: Path, tmp_path: Path) -> Training:
    copy = training.copied(tmp_path / "run", training={"iterations": 6}, operation={"keep_last_checkpoints": 1})
    shutil.copytree(llama, copy.folder / "huggingface", ignore=shutil.ignore_patterns("*.safetensors"))
    return copy


def set_hooks(copy: Training, command: str, every: int = 3, **more: Any) -> None:
    copy.change(operation={"hooks": {"every_iterations": every, "command": command} | more})


def test_a_hook_runs_on_an_export_and_its_numbers_are_shown(training: Training, hooked: Training) -> None:
    set_hooks(hooked, LOOK, every=6)
    hooked.train(SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES="3")
    folder = hooks.folder_of(hooked.output, 6)
    result = read_json(folder / "result.json")
    assert (result["exit_code"], result["command"]) == (0, LOOK), (folder / "log.txt").read_text()
    assert result["numbers"] == {"ids": 400, "results/of/iteration": 6}
    printed = (folder / "log.txt").read_text()
    assert "looked at" in printed and '"job": null, "gpus": ""' in printed
    assert not (folder / "huggingface").exists()
    board = EventAccumulator(str(hooked.output / "tensorboard")).Reload()
    assert [(point.step, point.value) for point in board.Scalars("hooks/results/of/iteration")] == [(6, 6.0)]
    assert hooked.losses()[:3] == training.losses()[:3]


def test_a_hook_that_fails_or_hangs_does_not_stop_the_training(training: Training, hooked: Training) -> None:
    set_hooks(hooked, "echo broken >&2; exit 3", every=6)
    printed = hooked.train()
    assert "WARNING: hook_failed: the hook of iteration 6 ended with exit code 3, see " in printed
    assert "broken" in (hooks.folder_of(hooked.output, 6) / "log.txt").read_text()
    failed = History(hooked.output).events("hook_failed")
    assert failed[-1]["exit_code"] == 3 and (hooked.output / "finished.json").exists()


class Watched:
    """What a `Hooks` says, and to whom."""

    def __init__(self, run_folder: Path, settings: dict[str, Any] | None) -> None:
        self.said: list[str] = []
        self.took: list[tuple[int, dict[str, float]]] = []
        self.hooks = Hooks(run_folder, settings, self._warn, lambda *found: self.took.append(found))  # type: ignore[arg-type]

    def _warn(self, event: str, message: str, **_: Any) -> None:
        self.said.append(f"{event}: {message}")


def test_one_hook_runs_at_a_time_and_its_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "slow.py"
    program.write_text("import time; time.sleep(600)")
    monkeypatch.setattr("pretrain_llama.training.hooks.PROGRAM", program)
    watched = Watched(tmp_path, {"every_iterations": 2})
    checkpoints = tmp_path / "output" / "checkpoints"
    for iteration in range(1, 7):
        (checkpoints / f"iter_000000{iteration}").mkdir(parents=True)
        watched.hooks.saved(iteration)
    assert watched.said == ["hook_left_out: the hook of iteration 4: that of iteration 2 still runs"]
    assert [path.name for path in watched.hooks.in_use] == ["iter_0000002", "iter_0000006"]
    prune(checkpoints, 1, None, watched.hooks.in_use)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["iter_0000002", "iter_0000006"]
    program.write_text("raise SystemExit(3)")
    watched.hooks._running[1].kill()  # type: ignore[index]
    watched.hooks.close(wait=True)
    assert [
        "iteration 2 ended with exit code -9" in watched.said[1],
        "6 ended with exit code 3" in watched.said[2],
    ] == [
        True,
        True,
    ]
    program.write_text("import time; time.sleep(600)")
    watched.hooks.saved(8)
    watched.hooks.saved(10)
    watched.hooks.close(wait=False)
    assert "the hook of iteration 8 ended with exit code -15" in watched.said[-1] and watched.hooks.in_use == []


def test_a_hook_that_does_not_start_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pretrain_llama.training.hooks.sys.executable", str(tmp_path / "no python"))
    watched = Watched(tmp_path, {"every_iterations": 1})
    watched.hooks.saved(1)
    assert "hook_failed: the hook of iteration 1 did not start: " in watched.said[0]
    assert Watched(tmp_path, None).hooks.every is None


def test_a_hook_by_hand_keeps_its_export_where_it_should(training: Training, llama: Path, tmp_path: Path) -> None:
    copy = copied_with_output(training, tmp_path / "run")
    shutil.copytree(llama, copy.folder / "huggingface", ignore=shutil.ignore_patterns("*.safetensors"))
    refused = run_script("run_hook.py", copy.folder, "--iteration", 8)
    assert refused.returncode == 2 and "the run has no hooks" in refused.stderr
    set_hooks(copy, "echo '{\"seen\": 1}'; exit 5", keep_export=True)
    assert run_script("run_hook.py", copy.folder, "--iteration", 8).returncode == 5
    folder = hooks.folder_of(copy.output, 8)
    result = read_json(folder / "result.json")
    assert (result["exit_code"], result["numbers"]) == (5, {"seen": 1})
    assert (folder / "huggingface" / "config.json").exists()
    missing = run_script("run_hook.py", copy.folder, "--iteration", 7)
    log = (hooks.folder_of(copy.output, 7) / "log.txt").read_text()
    assert missing.returncode == 2 and "no checkpoint of iteration 7" in log


def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    with open(tmp_path / "log.txt", "wb") as log:
        command = ["bash", "-c", "echo begun; sleep 600 & echo $!; wait"]
        code, printed = hooks._run(command, dict(os.environ), log, 2)
    begun, child = printed.split()
    assert (code, begun) == (hooks.TIMED_OUT, "begun")
    assert not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_text()
    assert (tmp_path / "log.txt").read_text() == printed and not hooks._groups


@pytest.mark.parametrize(
    ("printed", "numbers"),
    [
        ("", {}),
        ("a table\n", {}),
        ('{"acc": 0.5}\nafterwards', {}),
        ("[1, 2]", {}),
        (
            'first\n{"acc": 0.5, "of": {"ar": 1}, "name": "x", "yes": true}\n\n',
            {"acc": 0.5, "of/ar": 1.0},
        ),
        (json.dumps({"loss": float("nan"), "ppl": float("inf"), "n": 3}), {"n": 3.0}),
    ],
)
def test_numbers_are_those_of_the_last_line(printed: str, numbers: dict[str, float]) -> None:
    assert hooks.numbers(printed) == numbers
