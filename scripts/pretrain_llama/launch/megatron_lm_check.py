"""Check that Megatron-LM's own parser accepts the arguments of a run folder; needs no GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pretrain_llama.errors import OperatorError

# Megatron-LM imports triton, which a torch for the CPU alone does not bring; its parser does not need it.
PARSER = """
import json, os, sys
from pathlib import Path
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from unittest.mock import MagicMock
import torch._inductor.compile_fx  # before it could see what replaces triton
if find_spec("triton") is None:
    for name in ("triton", "triton.language"):
        sys.modules[name] = MagicMock(__path__=[], __version__="3.4.0", __spec__=ModuleSpec(name, None))
import torch
from megatron.training import arguments as parser
if not Path(parser.__file__).resolve().is_relative_to(Path(os.environ["PYTHONPATH"]).resolve()):
    sys.exit(f"Python imports the parser of another one, {parser.__file__}")
torch.cuda.get_device_properties = lambda *_: MagicMock(major=9, minor=0)  # of a GPU, which is not here
arguments = parser.parse_args()
parsed = {key: value for key, value in vars(arguments).items() if isinstance(value, int | float | str | list)}
parser.validate_args(arguments)  # against each other
print(json.dumps(parsed))
"""


def words(script: Path) -> list[str]:
    """Return the arguments that megatron_lm_arguments.sh sets, as bash passes them."""
    command = 'source "$0"; printf "%s\\0" "${MEGATRON_LM_ARGUMENTS[@]}"'
    said = subprocess.run(["bash", "-euc", command, script.name], cwd=script.parent, capture_output=True, check=True)
    return said.stdout.decode().split("\0")[:-1]


def parse(script: Path, checkout: Path, processes: int) -> dict[str, Any]:
    """Parse and validate the arguments as Megatron-LM does (validate_args); return their values.

    Args:
        script: megatron_lm_arguments.sh.
        checkout: of Megatron-LM, or a folder with megatron/training, such as the site-packages of megatron-core 0.19.2.
        processes: of the run.

    Raises:
        OperatorError: there is no parser, or it does not take them; says why.
    """
    if not (checkout / "megatron" / "training" / "arguments.py").exists():
        raise OperatorError(
            "no Megatron-LM: it has no megatron/training/arguments.py", where=checkout, action="give a checkout of it"
        )
    environment = os.environ | {"PYTHONPATH": str(checkout), "RANK": "0", "WORLD_SIZE": str(processes)}
    environment["CUDA_DEVICE_MAX_CONNECTIONS"] = "1"
    command = [sys.executable, "-c", PARSER, *words(script)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise OperatorError(
            f"Megatron-LM does not take the arguments: {result.stderr.strip().splitlines()[-1]}",
            where=script,
            action="change them, or use another version of Megatron-LM",
        )
    return json.loads(result.stdout.splitlines()[-1])
