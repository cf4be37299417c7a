"""Read a Bicep template, and walk its resources along Azure's published types.

pycep-parser reads it. A parameter stands for its default and each value that it allows; what is computed when the
template is deployed is taken by every type.
"""

import re
from typing import Any

from pycep import BicepParser

from azure_contract.published import Computed, body_of, deviations

# What the language adds to a resource's own properties.
OF_BICEP = ("scope", "parent", "dependsOn")
OF_TYPE = ("id", "type", "apiVersion")
SAMPLES = {"string": "text", "int": 1, "bool": True}


def read(template: str) -> dict[str, Any]:
    """Return the parts of a template: parameters, variables, resources, outputs."""
    return BicepParser().parse(text=template)


def resources_of(template: str) -> dict[str, tuple[str, str]]:
    """Return the type and version of each resource, by its symbolic name."""
    return {name: (r["type"], r["api_version"]) for name, r in read(template)["resources"].items()}


def faults_of(template: str) -> list[str]:
    """Return how a template's resources differ from the published types, a line each.

    Raises:
        KeyError, FileNotFoundError: there is no such type, or its types are not here.
    """
    parts = read(template)
    found = []
    for name, resource in parts["resources"].items():
        body = resource["config"].get("config", resource["config"])  # below a condition
        types, kind = body_of(resource["type"], resource["api_version"])
        own = {**kind, "properties": {n: p for n, p in kind["properties"].items() if n not in OF_TYPE}}
        for number in range(_variants(parts)):
            value = {key: _valued(v, parts, number) for key, v in body.items() if key not in OF_BICEP}
            found += deviations(types, own, value, name)
    return sorted({*found, *_faults_of_access(template, parts["resources"])})


def _faults_of_access(template: str, resources: dict[str, Any]) -> list[str]:
    """Return the properties that the template reads of its resources, and that they do not have."""
    found = []
    for name, path in re.findall(rf"\b({'|'.join(resources)})((?:\.\w+)+)", template):
        types, kind = body_of(resources[name]["type"], resources[name]["api_version"])
        for part in path.strip(".").split("."):
            if part not in kind.get("properties", {}):
                found.append(f"{name}{path}: there is no {part}")
                break
            kind = types[int(kind["properties"][part]["type"]["$ref"].removeprefix("#/"))]
    return found


def _variants(parts: dict[str, Any]) -> int:
    return max(len(_values_of(parameter)) for parameter in parts["parameters"].values())


def _values_of(parameter: dict[str, Any]) -> list[Any]:
    """The values to try of a parameter: its default and those that it allows, or bounds it."""
    limits = {d["type"]: d["argument"] for d in parameter["decorators"]}
    tried = [*limits.get("allowed", []), *(limits[n] for n in ("min_value", "max_value") if n in limits)]
    default = parameter.get("default", SAMPLES[parameter["type"]])
    return [*tried, Computed() if isinstance(default, dict) else default]


def _valued(value: Any, parts: dict[str, Any], number: int) -> Any:
    """Replace the names of parameters by one of their values each, and what is computed by a mark."""
    if isinstance(value, list):
        return [_valued(item, parts, number) for item in value]
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)) in ("function", "operator"):
            return Computed()
        return {key: _valued(inner, parts, number) for key, inner in value.items()}
    if isinstance(value, str) and value in parts["parameters"]:
        values = _values_of(parts["parameters"][value])
        return values[number % len(values)]
    return Computed() if isinstance(value, str) and "${" in value else value
