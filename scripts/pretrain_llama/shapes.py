"""Check what a JSON file of ours holds against the type that a program takes it for: somebody may have edited it."""

import dataclasses
import types
import typing
from functools import cache
from typing import Any

from pretrain_llama.errors import shown


def misfit(value: object, kind: Any, at: str = "") -> str | None:
    """Return what does not fit a type, and where: "bytes is 'x', not int"; None where all does.

    Args:
        value: of json.loads.
        kind: a class of JSON, a union, list[…], dict[str, …], a TypedDict, or a dataclass that will be made of it.
        at: the keys above, joined by dots.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return None
    if origin in (typing.NotRequired, typing.Required):
        return misfit(value, arguments[0], at)
    if origin in (typing.Union, types.UnionType):
        found = [misfit(value, one, at) for one in arguments]
        return None if None in found else max(map(str, found), key=lambda one: (one.count("."), "not None" not in one))
    if origin is list:
        inner = (
            {str(place): (one, arguments[0]) for place, one in enumerate(value)} if isinstance(value, list) else None
        )
    elif origin is dict:
        inner = {key: (one, arguments[1]) for key, one in value.items()} if isinstance(value, dict) else None
    elif typing.is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return _misfit_of_keys(value, kind, at)
    else:
        is_number = kind in (int, float) and isinstance(value, (int, kind)) and not isinstance(value, bool)
        fits = value is None if kind in (None, type(None)) else is_number or (type(value) is kind)
        return None if fits else f"{at or 'it'} is {shown(value)}, not {getattr(kind, '__name__', kind)}"
    if inner is None:
        return f"{at or 'it'} is {shown(value)}, not {origin.__name__}"
    return next((bad for key, (one, of) in inner.items() if (bad := misfit(one, of, _below(at, key)))), None)


def _misfit_of_keys(value: object, kind: Any, at: str) -> str | None:
    if not isinstance(value, dict):
        return f"{at or 'it'} is {shown(value)}, not an object"
    hints = _hints(kind)
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        missing = dataclasses.MISSING
        needed = {f.name for f in fields if f.default is missing and f.default_factory is missing}
        if unknown := sorted(value.keys() - {f.name for f in fields}):
            return f"{_below(at, shown(unknown[0]))} is no key of it"
    else:
        needed = set(kind.__required_keys__)
    if lacking := sorted(needed - value.keys()):
        return f"{_below(at, lacking[0])} is missing"
    return next(
        (bad for key in hints if key in value and (bad := misfit(value[key], hints[key], _below(at, key)))), None
    )


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _below(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key
