"""Write what follows from the sources: docs/reference.md, scripts/README.md, and tables of docs/checkpoints.md.

python docs/make_reference.py
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "reference.md"
PROGRAMS = ROOT / "scripts" / "README.md"
ARGUMENTS = ROOT / "scripts" / "pretrain_llama" / "checkpoints" / "megatron_arguments.yaml"
CHECKPOINTS = ROOT / "docs" / "checkpoints.md"
BEGIN, END = "<!-- arguments: made by make reference -->\n", "<!-- end of arguments -->\n"
SCHEMAS = ("config", "estimate", "corpora", "run", "sweep")
HEAD = """\
# Reference

Made by `make reference` from `config/schemas/` and the programs' `--help`; a test holds it against them.
"""

PROGRAMS_HEAD = """\
# The programs

Made by `make reference` from the first lines of the programs; a test holds it against them. Each program runs by \
hand, without Snakemake: `--help` shows how, and [the reference](../docs/reference.md) has all options.
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


def argument_tables() -> str:
    """Return what each argument of Megatron-LM says of a model, as three tables."""
    read = yaml.safe_load(ARGUMENTS.read_text(encoding="utf-8"))
    compared = [f"| `{name}` | {key} |" for name, key in read["compared"].items()]
    plain = [
        f"| `{name}` | {' or '.join(f'`{json.dumps(value)}`' for value in row['values'])} | {row['otherwise']} |"
        for name, row in read["plain"].items()
    ]
    others = [
        f"| {reason} | {len(names.split())} | `{'`, `'.join(names.split()[:3])}` |"
        for reason, names in read["without_influence"].items()
    ]
    return "\n".join(
        [
            "| compared with `config.json` | with its key |\n|---|---|",
            *compared,
            "\n| has to be plain | a Llama's | another |\n|---|---|---|",
            *plain,
            "\n| changes nothing, by | arguments | such as |\n|---|---|---|",
            *others,
            "",
        ]
    )


def with_arguments(page: str) -> str:
    """Return docs/checkpoints.md with the tables as they are now."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + argument_tables() + END + rest.split(END)[1]


def first_line(path: Path) -> str:
    """Return the first line of a program's docstring."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not told:
        raise ValueError(f"{path} has no docstring: write what the program does in its first line")
    return told.splitlines()[0]


def rules() -> dict[str, str]:
    """Return the file of each rule, by the rule's name."""
    return {
        name: path.name
        for path in sorted((ROOT / "rules").glob("*.smk"))
        for name in re.findall(r"^(?:rule|checkpoint) (\w+):", path.read_text(encoding="utf-8"), re.M)
    }


def programs() -> str:
    """Return scripts/README.md: the programs that a rule calls, by its file, and those that only a person calls."""
    of_rules, rows, tools = rules(), [], []
    for path in sorted((ROOT / "scripts").glob("*.py")):
        row = f"| [`{path.name}`]({path.name}) | {cell(first_line(path))} |"
        if file := of_rules.get(path.stem):
            rows.append(f"{row} [`{file}`](../rules/{file}) |")
        else:
            tools.append(row)
    return "\n".join(
        [
            PROGRAMS_HEAD,
            "## Programs of rules\n\nThe rule has the name of the program.\n",
            "| program | what it does | rule in |\n|---|---|---|",
            *rows,
            "\n## Tools\n\nA person, a launcher or another program starts them.\n",
            "| program | what it does |\n|---|---|",
            *tools,
            "",
        ]
    )


def reference() -> str:
    """Return docs/reference.md."""
    with ThreadPoolExecutor() as threads:
        helps = list(threads.map(program, sorted((ROOT / "scripts").glob("*.py"))))
    return "\n".join([HEAD, *map(table, SCHEMAS), "## Programs", "", *helps])


if __name__ == "__main__":
    OUTPUT.write_text(reference(), encoding="utf-8")
    PROGRAMS.write_text(programs(), encoding="utf-8")
    CHECKPOINTS.write_text(with_arguments(CHECKPOINTS.read_text(encoding="utf-8")), encoding="utf-8")
