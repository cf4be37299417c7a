"""Walk a JSON value along a model of Azure's clients for Python: names, what is required, types, enumerations.

The models are generated from Microsoft's specification of the service. They are read by what their generator writes:
class attributes that name the JSON property, and annotations.
"""

import sys
import typing
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from types import ModuleType, UnionType
from typing import Any, Union

import isodate

PLAIN = {str: str, int: int, float: (int, float), bool: bool}


@cache
def properties_of(model: type) -> dict[str, tuple[Any, bool]]:
    """Return the properties of a model by their names in JSON: type, and whether only the service writes it."""
    hints = typing.get_type_hints(model, localns={"_models": _module_of(model)})
    found = {}
    for base in reversed(model.__mro__):
        for name, field in vars(base).items():
            if type(field).__name__ == "_RestField":
                found[field._rest_name_input or name] = (hints[name], field._visibility == ["read"])
    return found


def _module_of(model: type) -> ModuleType:
    return sys.modules[model.__module__.rpartition(".")[0]]


def deviations(model: type, value: Any, path: str = "") -> list[str]:
    """Return how a value differs from a model, a line each; a line begins with the path of the property."""
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no {model.__name__}"]
    properties, found = properties_of(model), []
    for name, inner in value.items():
        place = f"{path}.{name}".lstrip(".")
        if name not in properties:
            found.append(f"{place}: no property of {model.__name__}")
        elif properties[name][1]:
            found.append(f"{place}: only the service writes it")
        else:
            found += _of_type(properties[name][0], inner, place)
    missing = [n for n, (kind, written) in properties.items() if not written and not _is_optional(kind)]
    return found + [f"{path}.{name}: is required".lstrip(".") for name in missing if name not in value]


def _is_optional(kind: Any) -> bool:
    return type(None) in typing.get_args(kind)


def _of_type(kind: Any, value: Any, path: str) -> list[str]:
    origin, arguments = typing.get_origin(kind), [a for a in typing.get_args(kind) if a is not type(None)]
    if origin in (Union, UnionType):
        enumerations = [a for a in arguments if isinstance(a, type) and issubclass(a, Enum)]
        return _of_type((enumerations or arguments)[0], value, path)
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return [line for n, item in enumerate(value) for line in _of_type(arguments[0], item, f"{path}[{n}]")]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no object"]
        return [line for key, item in value.items() for line in _of_type(arguments[1], item, f"{path}[{key}]")]
    if kind in PLAIN:
        right = isinstance(value, PLAIN[kind]) and (kind is bool or not isinstance(value, bool))
        return [] if right else [f"{path}: {value!r} is no {kind.__name__}"]
    if issubclass(kind, Enum):
        known = [member.value for member in kind]
        return [] if value in known else [f"{path}: {value!r} is none of {', '.join(map(str, known))}"]
    if kind in (datetime, timedelta):
        return _of_time(kind, value, path)
    return deviations(kind, value, path)


def _of_time(kind: type, value: Any, path: str) -> list[str]:
    read = isodate.parse_duration if kind is timedelta else isodate.parse_datetime
    try:
        read(value)
    except (TypeError, ValueError, isodate.ISO8601Error):
        return [f"{path}: {value!r} is no {kind.__name__}"]
    return []
