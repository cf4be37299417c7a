"""Write docs/reference.md: every key of the configuration, from the schemas, and every program, from its --help.

python docs/make_reference.py
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "reference.md"
SCHEMAS = ("config", "corpora", "run", "sweep")
HEAD = """\
# Reference

Made by `make reference` from `config/schemas/` and the programs' `--help`; a test holds it against them.
"""


def keys(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield the keys below a schema, dotted, with their own schemas, and whether each has to be given."""
    for key, inner in schema.get("properties", {}).items():
        yield prefix + key, inner, key in schema.get("required", [])
        yield from keys(inner, f"{prefix}{key}.")
    for inner in (schema.get("additionalProperties"), schema.get("items")):
        if isinstance(inner, dict):
            yield from keys(inner, f"{prefix}<name>." if inner is not schema.get("items") else f"{prefix}<n>.")


def value(schema: dict[str, Any], required: bool) -> str:
    """Say which values a key takes, and which it has by default."""
    kinds = schema.get("enum") or [part.get("type", "") for part in schema.get("anyOf", [schema])]
    bounds = [
        f"{sign} {schema[bound]:g}"
        for bound, sign in [("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")]
        if bound in schema
    ]
    told = [" or ".join(f"`{kind}`" if "enum" in schema else str(kind) for kind in kinds), *bounds]
    if required:
        told.append("required")
    elif "default" in schema and schema["default"] != {}:
        told.append(f"default `{json.dumps(schema['default'])}`")
    return ", ".join(filter(None, told))


def cell(text: str) -> str:
    """Return a text as it can stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(name: str) -> str:
    """Return the keys of a schema as a table."""
    schema = yaml.safe_load((ROOT / "config" / "schemas" / f"{name}.schema.yaml").read_text(encoding="utf-8"))
    rows = [
        f"| `{key}` | {value(inner, required)} | {cell(inner.get('description', ''))} |"
        for key, inner, required in keys(schema)
    ]
    return "\n".join([f"## {schema['title']}", "", "| key | value | what it is |", "|---|---|---|", *rows, ""])


def program(path: Path) -> str:
    """Return what a program says of itself."""
    command = [sys.executable, str(path), "--help"]
    environment = {"COLUMNS": "120", "PATH": "", "PYTHONHASHSEED": "0"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return f"### {path.name}\n\n```\n{told.strip()}\n```\n"


def reference() -> str:
    """Return the page."""
    programs = sorted((ROOT / "scripts").glob("*.py"))
    with ThreadPoolExecutor() as threads:
        helps = list(threads.map(program, programs))
    return "\n".join([HEAD, *map(table, SCHEMAS), "## Programs", "", *helps])


if __name__ == "__main__":
    OUTPUT.write_text(reference(), encoding="utf-8")
