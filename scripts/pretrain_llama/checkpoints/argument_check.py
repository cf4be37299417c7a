"""Check that the arguments kept by Megatron-LM describe a plain Llama, the one in config.json.

megatron_arguments.yaml lists all arguments. One that is unknown, or that changes the computation, is refused, because
nothing in the weights would show it.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from pretrain_llama import mappings
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.megatron_args import FIXED_SCALING, arguments
from pretrain_llama.checkpoints.pickles import Inert
from pretrain_llama.errors import ConfigError, listed, shown

SHOWN = 40
ALWAYS = "always "  # how the table begins what every config.json of a Llama says
TABLE = Path(__file__).with_name("megatron_arguments.yaml")
_OLDER_NAMES = {"norm_epsilon": "layernorm_epsilon"}
# Megatron-LM pads a vocabulary to the next multiple of both factors.
_PADDING = ("padded_vocab_size", "make_vocab_size_divisible_by", "tensor_model_parallel_size")
_OF_EVERY_RUN = "micro_batch_size"  # every version's parser gives it; a converter's arguments may be a few

# What versions computed with that did not have these arguments yet.
_BEFORE = {"rotary_base": 10_000, "use_rope_scaling": False, "rotary_percent": 1.0, "rotary_interleaved": False}
_LEGACY = {"rotary_base": 10_000, "use_rope_scaling": False}  # megatron/legacy/model passes neither on

Computed = dict[str, tuple[Any, str]]  # by argument: what Megatron-LM computed with, and why where it is not kept so


@dataclass(frozen=True)
class Table:
    """The table megatron_arguments.yaml, read: how each argument is judged.

    Attributes:
        compared: with a key of config.json, by argument.
        plain: the values of a plain Llama, by argument; otherwise: what another value does.
        reasons: why an argument changes nothing, by argument.
    """

    compared: dict[str, str]
    plain: dict[str, list[Any]]
    otherwise: dict[str, str]
    reasons: dict[str, str]

    def __contains__(self, name: object) -> bool:
        return any(name in part for part in (self.compared, self.plain, self.reasons))


@cache
def table() -> Table:
    """Return the table megatron_arguments.yaml."""
    read = mappings.read(TABLE)
    plain = read["plain"]
    return Table(
        read["compared"],
        {name: row["values"] for name, row in plain.items()},
        {name: row["otherwise"] for name, row in plain.items()},
        {name: reason for reason, names in read["without_influence"].items() for name in names.split()},
    )


def check_args(
    args: Any, architecture: Architecture, where: Path, accepted: Collection[str] = frozenset()
) -> dict[str, str]:
    """Check that the arguments of a training are those of an architecture, and of a plain Llama otherwise.

    Args:
        args: of the checkpoint, as `pickles.load` reads a namespace; None where it holds none.
        architecture: by config.json.
        where: the checkpoint, for the message.
        accepted: names of arguments that a person takes the responsibility for.

    Returns:
        The accepted arguments that would be refused, with their values as they are shown.

    Raises:
        ConfigError: one differs, is unknown, or changes the computation; names all, with what each does.
    """
    if args is None:
        return {}
    if not isinstance(args, Inert | dict):
        raise ConfigError(
            f"the arguments are of type {type(args).__name__}, no namespace",
            where=where,
            action="use a checkpoint as Megatron-LM saved it",
        )
    kept = {_name(name): value for name, value in (args if isinstance(args, dict) else vars(args)).items()}
    found = dict(_differing(kept, architecture)) | dict(_cut_short(kept, architecture)) | dict(_odd(kept))
    refused = {name: problem for name, problem in found.items() if name not in accepted}
    if refused:
        raise ConfigError(
            "the checkpoint is of another model:\n    "
            + listed([f"{name}: {problem}" for name, problem in refused.items()], "\n    ", SHOWN),
            where=where,
            action=_action(refused),
        )
    return {name: _shown(kept.get(name)) for name in found}


def _action(refused: Collection[str]) -> str:
    """Return what to do where arguments are refused: another config.json helps with those that are compared with it."""
    of_config = [name for name in refused if not table().compared.get(name, ALWAYS).startswith(ALWAYS)]
    actions = ["give the config.json that belongs to the checkpoint"] * bool(of_config)
    others = sorted(
        set(refused) - set(of_config) | set(refused) & {_PADDING[0]}
    )  # more rows may pad it, by a converter
    if others:
        options = " ".join(f"--accept-argument {name}" for name in others[:SHOWN])
        actions.append(
            f"if you know that it computes as a plain Llama nevertheless, take the responsibility: {options}, or "
            "conversion.accept_arguments in config.yaml"
        )
    return "; ".join(actions)


def _name(name: object) -> str:
    return name if isinstance(name, str) else shown(name)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value.isidentifier() and len(value) < SHOWN else shown(value)


def _odd(kept: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the arguments that are unknown, or not those of a plain Llama."""
    for name, value in kept.items():
        listed_value = list(value) if isinstance(value, tuple) else value
        if name not in table():
            yield name, f"{_shown(value)} in the checkpoint: unknown here, so it may change what the model computes"
        elif name in table().plain and listed_value not in table().plain[name]:
            plain = " or ".join(map(_shown, table().plain[name]))
            yield name, f"{_shown(value)} in the checkpoint, {plain} in a Llama: it {table().otherwise[name]}"


def _differing(kept: dict[str, Any], architecture: Architecture) -> Iterator[tuple[str, str]]:
    """Yield the arguments that differ from config.json."""
    computed = _computed(kept)
    expected = arguments(architecture) | {"rotary_base": architecture.rope_base}
    expected |= {old: expected[name] for name, old in _OLDER_NAMES.items()}
    for name, value in expected.items():
        if name in computed and computed[name][0] != value:
            found, why = computed[name]
            yield name, f"{_shown(found)} in the checkpoint, {value} by config.json{why}"


def _cut_short(kept: dict[str, Any], architecture: Architecture) -> Iterator[tuple[str, str]]:
    """Yield the padded vocabulary where its training had more ids than config.json says, whose rows would be lost."""
    numbers = [number for number in map(kept.get, _PADDING) if isinstance(number, int) and number > 0]
    if len(numbers) < len(_PADDING):
        return  # a converter's arguments may name none
    padded, *factors = numbers
    most = padded - prod(factors)  # with so many ids it would have been padded to fewer rows
    if architecture.vocab_size <= most:
        yield (
            "padded_vocab_size",
            f"{padded} in the checkpoint, a vocabulary of more than {most} that was padded to a multiple of "
            f"{' x '.join(map(str, factors))}, {architecture.vocab_size} by config.json",
        )


def _computed(kept: dict[str, Any]) -> Computed:
    computed = {name: (kept[name], "") for name in table().compared if kept.get(name) is not None}
    if _OF_EVERY_RUN in kept:
        computed = {name: (value, ": its version knew no other") for name, value in _BEFORE.items()} | computed
    if kept.get("use_legacy_models") or kept.get("use_mcore_models") is False:
        computed |= {name: (value, ": layers of before megatron-core know no other") for name, value in _LEGACY.items()}
    is_scaled = computed.get("use_rope_scaling", (False, ""))[0]
    if not is_scaled:
        computed = {name: found for name, found in computed.items() if not name.startswith("rope_scaling_")}
    elif "rope_scaling_low_freq_factor" not in kept:  # which a checkpoint has that was converted here
        always = ": Megatron-LM computes so, whatever its arguments say"
        computed |= {name: (value, always) for name, value in FIXED_SCALING.items()}
    if kept.get("group_query_attention"):  # of one head a group, too
        computed.pop("group_query_attention")
    else:  # num_query_groups says nothing then
        computed.pop("num_query_groups", None)
    if "use_rotary_position_embeddings" in kept:  # an older name, which may leave position_embedding_type as it was
        positions = "rope" if kept["use_rotary_position_embeddings"] else "learned_absolute"
        if positions == "rope" or "position_embedding_type" not in computed:
            computed["position_embedding_type"] = (positions, ": by use_rotary_position_embeddings")
    return computed
