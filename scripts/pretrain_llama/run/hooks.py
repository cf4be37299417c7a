"""Run a person's command on a Hugging Face export of a checkpoint, in a process of its own.

output/hooks/iter_0000500/
    log.txt        what the export and the command printed
    result.json    {"iteration", "command", "exit_code", "seconds", "numbers"}: written last
    huggingface/   the export, until the command has ended; kept where the run says so

Numbers are those of the last line that the command printed, where that is a JSON object; `{"acc": {"ar": 0.5}}` is
acc/ar. A trainer starts scripts/run_hook.py, and reads result.json.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pretrain_llama.files import write_json
from pretrain_llama.settings import HooksSettings

FOLDER, LOG, RESULT, EXPORT = "hooks", "log.txt", "result.json", "huggingface"
TIMED_OUT = 124  # as timeout(1) ends
# A command that imports torch would take itself for a process of the training.
_LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "GROUP_RANK", "TORCHELASTIC_", "OMPI_", "PMI", "SLURM_")


def folder_of(output: Path, iteration: int) -> Path:
    """Return where a hook's files lie."""
    return output / FOLDER / f"iter_{iteration:07d}"


def environment() -> dict[str, str]:
    """Return the environment of a hook: without ranks, and without GPUs, whose memory is the training's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHERS)}
    return kept | {"CUDA_VISIBLE_DEVICES": ""}


def run_hook(run_folder: Path, iteration: int, hooks: HooksSettings) -> int:
    """Export a checkpoint, run the command on it, and write result.json; return its exit code.

    Args:
        run_folder: of the training.
        iteration: of the checkpoint.
        hooks: of run.yaml.
    """
    signal.signal(signal.SIGTERM, _end_all)
    folder, began = folder_of(run_folder / "output", iteration), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    export = folder / EXPORT
    program = Path(sys.argv[0]).resolve().with_name("export_checkpoint.py")
    words = ["--run-folder", str(run_folder), "--iteration", str(iteration), "--output", str(export)]
    named = environment() | {"EXPORT": str(export.resolve()), "ITERATION": str(iteration)}
    with open(folder / LOG, "wb") as log:
        left = hooks["time_limit_seconds"]
        code, _ = _run([sys.executable, str(program), *words], named, log, left)
        printed = ""
        if code == 0:
            left -= time.monotonic() - began
            code, printed = _run(["bash", "-c", hooks["command"]], named, log, left)
    if not hooks["keep_export"]:
        shutil.rmtree(export, ignore_errors=True)
    result = {
        "iteration": iteration,
        "command": hooks["command"],
        "exit_code": code,
        "seconds": round(time.monotonic() - began, 3),
        "numbers": numbers(printed),
    }
    write_json(folder / RESULT, result)
    return code


_groups: list[int] = []  # of processes that were started


def _end_all(number: int, _: FrameType | None) -> NoReturn:
    """End what was started, and this process: the training has ended."""
    for group in _groups:
        os.killpg(group, signal.SIGKILL)
    os._exit(128 + number)


def _run(command: list[str], variables: dict[str, str], log: Any, limit: float) -> tuple[int, str]:
    """Run a command with its messages in the log; return its exit code, and what it printed."""
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=log, process_group=0)
    _groups.append(process.pid)
    try:
        printed, _ = process.communicate(timeout=max(limit, 0))
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with what it started itself
        printed, _ = process.communicate()
        code = TIMED_OUT
    _groups.remove(process.pid)
    log.write(printed)
    log.flush()
    return code, printed.decode(errors="replace")


def numbers(printed: str) -> dict[str, float]:
    """Return the finite numbers of the last line, by their keys; none where it is no JSON object."""
    lines = printed.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return {}
    return dict(_flat(found, "")) if isinstance(found, dict) else {}


def _flat(value: Any, key: str) -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [item for name, inner in value.items() for item in _flat(inner, f"{key}/{name}" if key else name)]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return [(key, float(value))] if is_number and math.isfinite(value) else []
