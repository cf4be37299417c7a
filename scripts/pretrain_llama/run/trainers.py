"""What trains a run, by `trainer` of run.yaml: which program, and what it cannot do."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.megatron_args import unlike_megatron_lm
from pretrain_llama.errors import ConfigError, OperatorError, shortened
from pretrain_llama.settings import RunSettings

OWN, MEGATRON_LM = "pretrain_llama", "megatron_lm"
PROGRAMS = {OWN: "train.py", MEGATRON_LM: "train_megatron_lm.py"}


def program(run: RunSettings) -> str:
    """Return the name of the program that trains a run."""
    return PROGRAMS[run["trainer"]]


def check_program(run: RunSettings, started: str, where: Path) -> None:
    """Check that a run is trained by the program that its run.yaml names.

    Args:
        run: run.yaml.
        started: file of the program.
        where: the run folder, for the message.

    Raises:
        ConfigError: it is not.
    """
    if started != program(run):
        raise ConfigError(
            f"{started} was started, and the run says trainer: {run['trainer']}",
            where=where / "run.yaml",
            action=f"start {program(run)}, or bash {where / 'launch.sh'}, which does",
        )


def check_trainer_settings(run: RunSettings, architecture: Architecture, where: str) -> None:
    """Check that a run asks of its trainer only what that can do.

    Args:
        run: run.yaml.
        architecture: of the model.
        where: path of run.yaml.

    Raises:
        ConfigError: it asks for more; names the key and its value.
    """
    if run["trainer"] == OWN:
        if given := run["megatron_lm"]["arguments"]:
            raise ConfigError(
                f"arguments for Megatron-LM, {', '.join(sorted(given))}, and trainer: {OWN}, which takes none",
                where=f"{where}: megatron_lm.arguments",
                action=f"set trainer: {MEGATRON_LM}, or remove them",
            )
        return
    for section, key, value in UNABLE:
        if run[section][key] not in value:  # type: ignore[literal-required]
            found = run[section][key]  # type: ignore[literal-required]
            raise ConfigError(
                f"{key}: {_in_yaml(found)} is not for trainer: {MEGATRON_LM}",
                where=f"{where}: {section}",
                action=f"set {key}: {_in_yaml(value[0])}, or trainer: {OWN}",
            )
    if unlike := unlike_megatron_lm(architecture):
        raise ConfigError(
            f"Megatron-LM would compute another model: {unlike}",
            where=f"{where}: trainer",
            action=f"set trainer: {OWN}",
        )


def _in_yaml(value: Any) -> str:
    return value if isinstance(value, str) else shortened(json.dumps(value))


def why_not(run: RunSettings, architecture: Architecture) -> str | None:
    """Return why Megatron-LM's pretrain_gpt.py cannot train a run; None where it can.

    It rotates in one way, and its arguments have no word for stages and for a rate of new rows: --decoupled-lr is of
    the whole embedding and output layer.

    Args:
        run: run.yaml.
        architecture: of the model.
    """
    if unlike := unlike_megatron_lm(architecture):
        return f"it would rotate otherwise ({unlike})"
    training = run["training"]
    named = ["stages"] * bool(training["stages"]) + ["new_rows_rate"] * (training["new_rows_rate"] != 1)
    return f"it has no {' and no '.join(named)}" if named else None


def check_engine(run: RunSettings, where: Path) -> None:
    """Check that Transformer Engine is here where the trainer megatron_lm cannot do without.

    Args:
        run: run.yaml.
        where: the run folder, for the message.

    Raises:
        OperatorError: it is not.
    """
    if run["parallel"]["sequence"] and find_spec("transformer_engine") is None:
        raise OperatorError(
            f"parallel.sequence: true with trainer: {MEGATRON_LM} needs Transformer Engine, which is not installed",
            where=where / "run.yaml",
            action=f"train in NVIDIA's image (docs/training.md), or set sequence: false, or trainer: {OWN}",
        )


# Section, key, and the values that Megatron-LM can do. It stops at a number that is none, and looks for no spikes; it
# masks documents by ids that end them, which not all shards have. Its --decoupled-lr is of the whole embedding and
# output layer; traces and determinism are arguments of its own.
UNABLE: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("training", "reset_attention_mask", (False,)),
    ("training", "stages", ([],)),
    ("training", "new_rows_rate", (1,)),
    ("operation", "hooks", (None,)),
    ("operation", "profile", (None,)),
    ("operation", "deterministic", (False,)),
    ("operation", "on_not_finite", ("stop",)),
    ("operation", "on_spike", ("ignore",)),
)
