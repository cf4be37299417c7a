"""megatron_lm_arguments.sh starts pretrain_gpt.py of a checkout of Megatron-LM, which MEGATRON_LM names; on the CPU.

It runs over the megatron-core that is installed, whose helpers are compiled.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain_llama.launch.megatron_lm_check import words
from project import SCRIPTS
from trainings import Training

PRETRAIN = Path(os.environ.get("MEGATRON_LM", "no checkout")) / "pretrain_gpt.py"
START = """
import runpy, sys
from pathlib import Path
from pretrain_llama.training.megatron_lm import cpu
from megatron.core.datasets import utils
cpu.install()
utils.compile_helpers = lambda: None
sys.argv[:] = sys.argv[1:]
sys.path.append(str(Path(sys.argv[0]).parent))  # for its gpt_builders.py
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(not PRETRAIN.exists(), reason="MEGATRON_LM names no checkout")
def test_it_trains_saves_and_goes_on(training: Training, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run")
    (tmp_path / "start.py").write_text(START)
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS), "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
    environment |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    for iterations in (4, 8):
        arguments = [*words(copy.folder / "megatron_lm_arguments.sh"), "--distributed-backend", "gloo"]
        arguments += ["--train-iters", str(iterations), "--lr-decay-iters", "8", "--num-workers", "0"]
        command = [sys.executable, tmp_path / "start.py", PRETRAIN, *arguments, "--override-opt_param-scheduler"]
        environment["MASTER_PORT"] = str(29_000 + os.getpid() % 1000)
        done = subprocess.run(command, cwd=copy.folder, env=environment, capture_output=True, text=True)
        printed = done.stdout + done.stderr
        assert done.returncode == 0, printed
        assert f"successfully saved checkpoint from iteration {iterations:7d}" in printed
        assert "loading distributed checkpoint" in printed or "successfully loaded checkpoint" in printed
    losses = [float(found) for found in re.findall(r"lm loss: (\S+)", printed)]
    assert losses and losses[-1] < training.losses()[0] - 0.2, "it learns"
