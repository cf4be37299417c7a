"""Walk a JSON value along Azure's published types of resources: names, what is required, what only the service writes,
types, bounds, enumerations.

tests/data/azure_types holds those that are needed, as take_types.py takes them out of the published files.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "data" / "azure_types"
REQUIRED, READ_ONLY = 1, 2  # bits of a property's flags
SIMPLE = {"StringType": str, "IntegerType": int, "BooleanType": bool}


class Computed:
    """A value that is known only when a template is deployed; all types take it."""


@cache
def types_of(provider: str, version: str) -> list[dict]:
    """Return the types of a provider's version.

    Raises:
        FileNotFoundError: they are not here.
    """
    return json.loads((FOLDER / f"{provider.lower()}_{version}.json").read_text())


def body_of(resource: str, version: str) -> tuple[list[dict], dict]:
    """Return the types of a resource's provider, and that of its body.

    Raises:
        KeyError: the version has no such resource.
    """
    types = types_of(resource.partition("/")[0], version)
    wanted = f"{resource}@{version}".lower()
    for entry in types:
        if entry["$type"] == "ResourceType" and entry["name"].lower() == wanted:
            return types, _follow(types, entry["body"])
    raise KeyError(wanted)


def _follow(types: list[dict], reference: dict) -> dict:
    return types[int(reference["$ref"].removeprefix("#/"))] if "$ref" in reference else reference


def deviations(types: list[dict], kind: dict, value: Any, path: str = "") -> list[str]:
    """Return how a value differs from a type, a line each; a line begins with the path of the property."""
    kind = _follow(types, kind)
    if isinstance(value, Computed):
        return []
    match kind["$type"]:
        case "ObjectType":
            return _of_object(types, kind, value, path)
        case "DiscriminatedObjectType":
            return _of_one_of(types, kind, value, path)
        case "ArrayType":
            if not isinstance(value, list):
                return [f"{path}: {value!r} is no list"]
            return [
                line
                for n, item in enumerate(value)
                for line in deviations(types, kind["itemType"], item, f"{path}[{n}]")
            ]
        case "UnionType":
            members = [_follow(types, element) for element in kind["elements"]]
            # Most enumerations are published with any text beside their values: what later versions may add.
            members = [m for m in members if m["$type"] == "StringLiteralType"] or members
            if any(not deviations(types, member, value, path) for member in members):
                return []
            known = ", ".join(str(member.get("value", member["$type"])) for member in members)
            return [f"{path}: {value!r} is none of {known}"]
        case "StringLiteralType":
            return [] if value == kind["value"] else [f"{path}: {value!r} is not {kind['value']!r}"]
        case "AnyType":
            return []
    return _of_simple(kind, value, path)


def _of_object(types: list[dict], kind: dict, value: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no object"]
    properties, found = kind["properties"], []
    for name, inner in value.items():
        place = f"{path}.{name}".lstrip(".")
        if name in properties and properties[name].get("flags", 0) & READ_ONLY:
            found.append(f"{place}: only the service writes it")
        elif name in properties:
            found += deviations(types, properties[name]["type"], inner, place)
        elif "additionalProperties" in kind:
            found += deviations(types, kind["additionalProperties"], inner, place)
        else:
            found.append(f"{place}: no property of {kind['name']}")
    required = [name for name, entry in properties.items() if entry.get("flags", 0) & REQUIRED]
    return found + [f"{path}.{name}: is required".lstrip(".") for name in required if name not in value]


def _of_one_of(types: list[dict], kind: dict, value: Any, path: str) -> list[str]:
    chosen = value.get(kind["discriminator"]) if isinstance(value, dict) else None
    if chosen not in kind["elements"]:
        return [f"{path}.{kind['discriminator']}: {chosen!r} is none of {', '.join(kind['elements'])}".lstrip(".")]
    element = _follow(types, kind["elements"][chosen])
    whole = {**element, "properties": {**kind["baseProperties"], **element["properties"]}}
    return _of_object(types, whole, value, path)


def _of_simple(kind: dict, value: Any, path: str) -> list[str]:
    wanted = SIMPLE[kind["$type"]]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        return [f"{path}: {value!r} is no {wanted.__name__}"]
    size, unit = (value, "Value") if wanted is int else (len(value) if wanted is str else 0, "Length")
    if not kind.get(f"min{unit}", size) <= size <= kind.get(f"max{unit}", size):
        return [f"{path}: {value!r} is not within {kind.get(f'min{unit}')} and {kind.get(f'max{unit}')}"]
    if "pattern" in kind and not re.search(kind["pattern"], value):
        return [f"{path}: {value!r} does not match {kind['pattern']}"]
    return []
