"""Check that Megatron-LM's own parser accepts the arguments of a run folder; needs no GPU."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.argument_check import table
from pretrain_llama.errors import ConfigError, OperatorError
from pretrain_llama.launch.megatron_lm import Arguments, default_arguments, fixed_arguments, own_arguments
from pretrain_llama.launch.megatron_lm import words as words_of
from pretrain_llama.run.sizes import process_count
from pretrain_llama.settings import RunSettings

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
if not Path(parser.__file__).resolve().is_relative_to(Path(os.environ["MEGATRON_LM"]).resolve()):
    sys.exit(f"Python imports the parser of another one, {parser.__file__}")
torch.cuda.get_device_properties = lambda *_: MagicMock(major=9, minor=0)  # of a GPU, which is not here
parsed = []
for words in json.load(sys.stdin):
    sys.argv[1:] = words
    arguments = parser.parse_args()
    parsed.append({key: value for key, value in vars(arguments).items() if isinstance(value, int | float | str | list)})
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
    environment = {"PYTHONPATH": str(checkout), "MEGATRON_LM": str(checkout)}
    try:
        return _ask([words(script)], processes, environment)[0]
    except RefusedError as refused:
        raise OperatorError(
            f"Megatron-LM does not take the arguments: {refused}",
            where=script,
            action="change them, or use another version of Megatron-LM",
        ) from None


class RefusedError(Exception):
    """What Megatron-LM says of arguments that it does not take."""


def _ask(lists: list[list[str]], processes: int, environment: dict[str, str]) -> list[dict[str, Any]]:
    """Parse each list of words, and validate the last one; return their values by name."""
    environment = os.environ | environment | {"RANK": "0", "WORLD_SIZE": str(processes)}
    environment["CUDA_DEVICE_MAX_CONNECTIONS"] = "1"
    command = [sys.executable, "-c", PARSER]
    result = subprocess.run(command, env=environment, input=json.dumps(lists), capture_output=True, text=True)
    if result.returncode:
        raise RefusedError(result.stderr.strip().splitlines()[-1].removeprefix("-c: error: "))
    return json.loads(result.stdout.splitlines()[-1])


def parsed_apart(lists: list[list[str]], processes: int) -> list[dict[str, Any]]:
    """Parse lists of words in a process of its own, which takes 10 seconds, by the installed megatron-core.

    Raises:
        RefusedError: the parser takes them not; says why.
    """
    site = Path(str(distribution("megatron-core").locate_file(""))).resolve()
    return _ask(lists, processes, {"MEGATRON_LM": str(site)})


def check_own_arguments(
    run: RunSettings,
    architecture: Architecture,
    where: str,
    parsed: Callable[[list[list[str]], int], list[dict[str, Any]]] = parsed_apart,
) -> None:
    """Check `megatron_lm: arguments` by Megatron-LM's own parser, and against the rest of the run.

    megatron_arguments.yaml says of each argument what it is about. Where megatron-core is not installed, nothing is
    checked: the trainer does it.

    Args:
        run: run.yaml, which may have none.
        architecture: of the model.
        where: path of run.yaml.
        parsed: returns the values of each list of words, by name; given the processes of the run, too.

    Raises:
        ConfigError: the parser takes them not, alone or with the others; or one contradicts what the run fixes.
    """
    where = f"{where}: megatron_lm.arguments"
    fixed, own = fixed_arguments(run, architecture), own_arguments(run, True)
    _check_left_out(run, fixed, where)
    if not run["megatron_lm"]["arguments"] or find_spec("megatron") is None:
        return
    # The last word counts: ours are said first, so that one which contradicts them is seen, by whatever name.
    lists = [words_of(fixed) + words_of(each) for each in (default_arguments(run, True), own)]
    try:
        before, now = parsed(lists, process_count(run))
    except RefusedError as refused:
        raise ConfigError(
            f"Megatron-LM does not take them: {refused}",
            where=where,
            action="correct them: docs/megatron_lm.md says how an argument is written here",
        ) from None
    for name in sorted(key for key in before | now if before.get(key) != now.get(key)):
        if why := _contradiction(name, now.get(name), fixed):
            raise ConfigError(
                f"{name.replace('_', '-')}: {now.get(name)}, and by the rest of the run {before.get(name)}: {why}",
                where=where,
                action="remove it, or change what the rest of run.yaml says",
            )


def _check_left_out(run: RunSettings, fixed: Arguments, where: str) -> None:
    """Check that only defaults are left out."""
    defaults = default_arguments(run, True) | default_arguments(run, False)
    for option, value in run["megatron_lm"]["arguments"].items():
        name = option.replace("_", "-")
        if value is False and name not in defaults:
            raise ConfigError(
                f"{option}: false leaves out what is no default here"
                + (f", and the run fixes: --{' '.join([name, *fixed[name]])}" if name in fixed else ""),
                where=where,
                action="remove it; Megatron-LM's flags that turn something off have names of their own, such as "
                "no-rope-fusion: true",
            )


def _contradiction(name: str, value: Any, fixed: Arguments) -> str | None:
    """Return why an argument may not be changed; None where it may."""
    known = table()
    if name in known.plain and value not in known.plain[name]:
        return f"it {known.otherwise[name]}"
    if name in known.compared or name.replace("_", "-") in fixed:
        return "the run fixes it"
    kind = known.reasons.get(name, "unknown here")
    if (kind in FIXED_KINDS and name not in FREE) or name in FIXED_BY_TRAINER:
        return f"the run fixes what it is about, {kind}"
    return None


# Of megatron_arguments.yaml: what run.yaml, the mixture and the trainer say.
FIXED_KINDS = {
    "optimizer",
    "batches",
    "data",
    "vocabulary",
    "dropout",
    "initial weights",
    "checkpoints",
    "reinforcement learning",
    "other programs",
    "other tools",
    "unknown here",
}
# Of those, what changes the speed or the memory alone.
FREE = {
    "num_workers",
    "train_sync_interval",
    "optimizer_cpu_offload",
    "optimizer_offload_fraction",
    "overlap_cpu_optimizer_d2h_h2d",
    "pin_cpu_grads",
    "pin_cpu_params",
    "use_torch_optimizer_for_cpu_offload",
    "use_precision_aware_optimizer",
    "optimizer_cuda_graph",
    "ckpt_fully_parallel_load",
    "ckpt_assume_constant_structure",
    "use_cpu_initialization",
}
# Of the others: what has a key of its own in run.yaml; ways to end, and to keep weights, of which launchers and
# checkpoints here know nothing.
FIXED_BY_TRAINER = {
    "bf16",
    "fp16",
    "sequence_parallel",
    "use_distributed_optimizer",
    "exit_duration_in_mins",
    "exit_interval",
    "exit_signal",
    "inprocess_restart",
    "use_megatron_fsdp",
    "use_torch_fsdp2",
}
