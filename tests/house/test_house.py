"""The rooms of the package: imports point down, in no circle, and only what trains or speaks to a store is heavy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import chain

import pytest

from project import SCRIPTS

PACKAGE = SCRIPTS / "pretrain_llama"
# Rooms and single modules, from the ground up: each may import what stands on a floor below its own.
FLOORS = """
    errors library_warnings
    mappings files progress names arguments tables checklist settings schemas shapes
    stores
    receipts
    configuration
    tokenization
    exports
    checkpoints duplicates shards
    mixture
    run vocabulary
    estimate
    launch
    provenance
    training doctor status report withdrawal
    project
    start
""".strip().splitlines()
FLOOR = {room: number for number, line in enumerate(FLOORS) for room in line.split()}
# Importing one of these costs a second or more, and up to 350 MB: too much for each of thousands of shard jobs.
HEAVY = {"torch", "transformers", "snakemake", "megatron", "azure", "pandas"}
MAY_BE_HEAVY = ("training.", "stores.blob", "checkpoints.transformers_check")


def modules() -> list[str]:
    """Return the modules below pretrain_llama, dotted; a package by its name."""
    paths = (path.relative_to(PACKAGE).with_suffix("").parts for path in sorted(PACKAGE.rglob("*.py")))
    return [name for parts in paths if (name := ".".join(part for part in parts if part != "__init__"))]


def imported(module: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports, at its top or inside a function."""
    path = PACKAGE.joinpath(*module.split("."))
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("pretrain_llama."):
            above = str(node.module).partition(".")[2]
            for name in node.names:
                inner = f"{above}.{name.name}".lstrip(".")
                if found := inner if inner in MODULES else above:
                    yield found


MODULES = modules()
IMPORTS = {module: set(imported(module)) - {module} for module in MODULES}


def room(module: str) -> str:
    return module.partition(".")[0]


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in MODULES} == FLOOR.keys()


@pytest.mark.parametrize("name", sorted({room(module) for module in MODULES}))
def test_imports_point_down(name: str) -> None:
    climbing = [
        f"{module} imports {other}"
        for module in MODULES
        if room(module) == name
        for other in IMPORTS[module]
        if room(other) != name and FLOOR[room(other)] >= FLOOR[name]
    ]
    assert not climbing


def test_no_files_import_each_other() -> None:
    """A package's own module offers what is in its files, and is left out: it may import them, and they it."""
    files = {
        module: {other for other in IMPORTS[module] if not (PACKAGE / other.replace(".", "/")).is_dir()}
        for module in MODULES
    }
    try:
        TopologicalSorter(files).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {error.args[1]}")


IMPORT_EACH = """
import importlib, sys
known = set()
for module in sys.argv[1:]:
    importlib.import_module(module)
    for heavy in {heavy} & sys.modules.keys() - known:
        print(module, "imports", heavy)
        known.add(heavy)
"""


def test_nothing_else_is_heavy() -> None:
    light = [f"pretrain_llama.{module}" for module in MODULES if not f"{module}.".startswith(MAY_BE_HEAVY)]
    assert len(light) < len(MODULES)
    command = [sys.executable, "-c", IMPORT_EACH.replace("{heavy}", repr(HEAVY)), *light]
    result = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert result.stdout == ""


def test_files_are_small() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in chain(PACKAGE.rglob("*.py"), SCRIPTS.glob("*.py"))}
    assert {str(path.relative_to(SCRIPTS)): length for path, length in lengths.items() if length > 300} == {}
