"""Processes that are launched together, and end together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from processes import wait_for
from project import SCRIPTS

LIGHT = """
import sys
from pretrain_llama.errors import run_program
from pretrain_llama.launch.local import run_processes

run_program(lambda: run_processes([sys.executable, "-c", sys.argv[1]], 2))
"""
WAITING = """
import os, pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
pathlib.Path("started_" + os.environ["RANK"]).touch()
signal.pause()
"""
FAILING = """
import os, sys, time
sys.exit(3) if os.environ["RANK"] == "1" else time.sleep(600)
"""
# As where the first process refuses: the others end without a message, and may fail at its silence first.
REFUSING = """
import os, sys, time
from pretrain_llama.errors import DataError, run_program
if os.environ["RANK"] == "1":
    sys.exit(SILENT)
def main():
    time.sleep(1)
    raise DataError("it is spoilt", where="data", action="mend it")
run_program(main)
"""


def launch_light(program: str, folder: Path) -> subprocess.Popen:
    """Launch two processes of a program that needs no torch."""
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", LIGHT, program]
    return subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True)


def test_a_launch_passes_sigterm_on(tmp_path: Path) -> None:
    launcher = launch_light(WAITING, tmp_path)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2, 120)
    launcher.terminate()
    _, printed = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, printed


def test_a_failing_process_ends_the_launch(tmp_path: Path) -> None:
    launcher = launch_light(FAILING, tmp_path)
    _, printed = launcher.communicate(timeout=60)
    assert launcher.returncode == 2
    assert "process 1 of 2 ended with exit code 3" in printed
    assert "next:  see its message above" in printed


@pytest.mark.parametrize("silent", [1, 2])
def test_the_message_of_a_process_is_the_last_one(tmp_path: Path, silent: int) -> None:
    launcher = launch_light(REFUSING.replace("SILENT", str(silent)), tmp_path)
    _, printed = launcher.communicate(timeout=60)
    assert launcher.returncode == 2
    assert printed == "data error: it is spoilt\n  where: data\n  next:  mend it\n"
