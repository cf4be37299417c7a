"""Validate what a person wrote against the closed schemas of config/schemas/, and read each number of it."""

import difflib
import math
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from pretrain_llama.errors import ConfigError, shortened, shown

SCHEMAS = Path(__file__).resolve().parents[2] / "config" / "schemas"
LARGEST = 1e15  # of any number: whole ones up to it are exact in float64, and no sum of them overflows
DRAFT = jsonschema.Draft202012Validator
NUMBERS = ("integer", "number")
OF_NUMBERS = ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def _is_number(_: jsonschema.TypeChecker, value: Any) -> bool:
    return DRAFT.TYPE_CHECKER.is_type(value, "number") and -LARGEST <= value <= LARGEST  # NaN is not


def _is_whole(checker: jsonschema.TypeChecker, value: Any) -> bool:
    return _is_number(checker, value) and value == math.floor(value)


VALIDATOR = jsonschema.validators.extend(
    DRAFT, type_checker=DRAFT.TYPE_CHECKER.redefine_many({"number": _is_number, "integer": _is_whole})
)


def validate(value: Any, schema_name: str, where: str) -> Any:
    """Return the value with the schema's defaults filled in, and whole numbers as int, however they are written.

    Args:
        value: what a configuration file holds.
        schema_name: config, corpora, estimate, run or sweep.
        where: the file, for the message.

    Raises:
        ConfigError: the value does not follow the schema; names the key, the value and the next action.
    """
    errors = list(_validator(schema_name).iter_errors(value))
    if errors:
        raise _config_error(min(errors, key=lambda error: list(map(str, error.absolute_path))), where)
    return _filled(value, schema(schema_name))


@cache
def schema(name: str) -> dict[str, Any]:
    """Return a schema of config/schemas/."""
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


@cache
def _validator(name: str) -> Any:
    return VALIDATOR(schema(name))


def types_of(inner: dict[str, Any]) -> list[str]:
    """Return the types that a schema allows, also by one of several schemas."""
    named = inner.get("type", [])
    return [*([named] if isinstance(named, str) else named), *(t for o in inner.get("anyOf", []) for t in types_of(o))]


def _filled(value: Any, inner: dict[str, Any]) -> Any:
    if isinstance(value, float) and "integer" in types_of(inner):
        return int(value)
    if not isinstance(value, dict):
        return value
    properties = inner.get("properties", {})
    others = inner.get("additionalProperties") or {}
    filled = {key: part["default"] for key, part in properties.items() if "default" in part} | value
    return {key: _filled(part, properties.get(key, others)) for key, part in filled.items()}


def _config_error(error: jsonschema.ValidationError, where: str) -> ConfigError:
    key = ".".join(map(str, error.absolute_path))
    at = f"{where}: {key}" if key else where
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(unknown, known, 1)
        action = f"write {close[0]!r}" if close else f"remove it; the keys are {', '.join(known)}"
        return ConfigError(f"unknown key {shown(unknown)}", where=at, action=action)
    if error.validator == "required":
        return ConfigError(error.message, where=at, action="add the key")
    action = error.schema.get("description", "give a value that the schema allows")
    if is_of_numbers := error.validator in OF_NUMBERS and set(NUMBERS) & set(types_of(error.schema)):
        problem = f"{shown(error.instance)} is not {_range(error.schema)}"
    elif error.validator in ("anyOf", "oneOf"):  # of which the message speaks of schemas
        problem = f"{shown(error.instance)} is no value that this key may have"
        is_of_numbers = set(NUMBERS) & set(types_of(error.schema))
    else:
        problem = shortened(error.message)
    if is_of_numbers and isinstance(error.instance, str) and _says_a_number(error.instance):
        action = "YAML reads this as text: write the exponent as in 3.0e-3, and no quotes"
    return ConfigError(problem, where=at, action=action)


def _range(inner: dict[str, Any]) -> str:
    """Say which numbers a schema allows: "a whole number from 1", "a number above 0 and below 1, or null"."""
    allowed = types_of(inner)
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    ends = inner if {"maximum", "exclusiveMaximum"} & inner.keys() else inner | {"maximum": LARGEST}
    limits = [f"{word} {ends[limit]:.10g}".replace("e+", "e") for limit, word in words.items() if limit in ends]
    kind = "a number" if "number" in allowed else "a whole number"
    return " ".join([kind, *limits]) + (", or null" if "null" in allowed else "")


def _says_a_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
