"""Write scripts/pretrain_llama/settings.py: the keys of the configuration as mypy reads them, from config/schemas/.

python docs/make_settings.py

A key that is required, or has a default, is always there when the configuration has been read; another one is
NotRequired.
"""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "scripts" / "pretrain_llama" / "settings.py"
SCHEMAS = ("config", "estimate", "run", "sweep")
TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None", "array": "list"}
HEAD = '''"""The keys of the configuration, as mypy reads them: made by `make reference` from config/schemas/."""

from typing import Any, Literal, NotRequired, TypedDict
'''


def class_name(key: str) -> str:
    """Return the name of the class of what stands under a key: tokenizers, of which each is a TokenizerSettings."""
    return "".join(part.capitalize() for part in key.split("_")) + "Settings"


def members(key: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects with keys of their own within a value, those that are needed first, by the key of each."""
    for name, inner in schema.get("properties", {}).items():
        yield from members(name, inner)
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        yield from members(key.removesuffix("s"), others)
    if "items" in schema:
        yield from members(key.removesuffix("s"), schema["items"])
    if "properties" in schema:
        yield key, schema


def hint(key: str, schema: dict[str, Any]) -> str:
    """Return the type of a value."""
    if "enum" in schema:
        return f"Literal[{', '.join(map(json.dumps, schema['enum']))}]"
    if "anyOf" in schema:
        return " | ".join(hint(key, choice) for choice in schema["anyOf"])
    kinds = schema.get("type", [])
    return " | ".join(_of_kind(key, kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _of_kind(key: str, kind: str, schema: dict[str, Any]) -> str:
    if kind == "array":
        return f"list[{hint(key.removesuffix('s'), schema['items'])}]"
    if kind != "object":
        return TYPES[kind]
    if "properties" in schema:
        return class_name(key)
    others = schema.get("additionalProperties")
    return f"dict[str, {hint(key.removesuffix('s'), others) if isinstance(others, dict) else 'Any'}]"


def definition(key: str, schema: dict[str, Any]) -> str:
    """Return the class of an object with keys of its own."""
    told = schema.get("description", f"What {schema['title']} holds." if "title" in schema else f"The keys of {key}.")
    lines = [f"class {class_name(key)}(TypedDict):", *_docstring(" ".join(told.split())), ""]
    for name, inner in schema["properties"].items():
        found = hint(name, inner)
        always = name in schema.get("required", []) or "default" in inner
        lines.append(f"    {name}: {found if always else f'NotRequired[{found}]'}")
    return "\n".join(lines)


def _docstring(text: str) -> list[str]:
    lines = textwrap.wrap(f'"""{text}', 116)
    closed = [*lines[:-1], lines[-1] + '"""'] if len(lines) == 1 else [*lines, '"""']
    return [f"    {line}" for line in closed]


def settings() -> str:
    """Return the module."""
    definitions = []
    for name in SCHEMAS:
        schema = yaml.safe_load((ROOT / "config" / "schemas" / f"{name}.schema.yaml").read_text(encoding="utf-8"))
        definitions += [definition(*found) for found in members(name, schema)]
    return "\n\n\n".join([HEAD.rstrip("\n"), *definitions]) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(settings(), encoding="utf-8")
