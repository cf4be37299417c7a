"""Processes that are launched together, and end together."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain_llama.errors import run_program
from pretrain_llama.training.stopping import REASONS, SIGNALS, StopRequest
from processes import wait_for
from project import SCRIPTS

LIGHT = """
import sys
from pretrain_llama.errors import run_program
from pretrain_llama.launch.local import run_processes

run_program(lambda: run_processes([sys.executable, "-c", sys.argv[1]], 2))
"""
WAITING = """
import os, pathlib, signal, time
from pretrain_llama.training.stopping import StopRequest
stop = StopRequest(None)
pathlib.Path("started_" + os.environ["RANK"]).touch()
while not stop.reason():
    time.sleep(0.01)
if stop.reason() == "SIGINT":
    pathlib.Path("asked_" + os.environ["RANK"]).touch()
    time.sleep(600)
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_launch_passes_signals_on(tmp_path: Path, number: int) -> None:
    launcher = launch_light(WAITING, tmp_path)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2, 120)
    launcher.send_signal(number)
    _, printed = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, printed


def test_a_second_interrupt_ends_a_launch_at_once(tmp_path: Path) -> None:
    launcher = launch_light(WAITING, tmp_path)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2, 120)
    launcher.send_signal(signal.SIGINT)
    wait_for(lambda: len(list(tmp_path.glob("asked_*"))) == 2, 120)
    assert launcher.poll() is None, "the first lets them save"
    launcher.send_signal(signal.SIGINT)
    _, printed = launcher.communicate(timeout=60)
    assert (launcher.returncode, printed) == (130, "")


def test_an_interrupt_before_there_is_anything_to_save_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run_program(main)
    assert ended.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_a_training_is_asked_to_stop_by(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stop = StopRequest(None)
    assert stop.reason() is None
    os.kill(os.getpid(), number)
    assert stop.reason() == number.name and number.name in REASONS
    stop.close()
    assert signal.getsignal(number) is before


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
