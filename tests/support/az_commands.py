"""The commands of the Azure CLI in pages and messages, and what the CLI's own help says of them."""

import ast
import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from documents import PAGES, commands
from project import ROOT

AZ = ROOT / ".venv-azure-cli" / "bin" / "az"
INLINE = re.compile(r"`(az [^`\n]*)`")
# https://learn.microsoft.com/cli/azure/ml: an extension, which no package registry has. Options that are in use here.
OF_EXTENSION = {
    "ml workspace create": {"--name", "--resource-group"},
    "ml workspace show": {"--name", "--resource-group", "--query", "--output"},
    "ml compute create": {"--file", "--resource-group", "--workspace-name"},
    "ml compute show": {"--name", "--resource-group", "--workspace-name", "--query", "--output"},
    "ml datastore create": {"--file", "--resource-group", "--workspace-name"},
    "ml datastore list": {"--resource-group", "--workspace-name", "--query", "--output"},
    "ml job create": {"--file", "--resource-group", "--workspace-name"},
}


@dataclass(frozen=True)
class Option:
    """What the help says of an option: its names, whether it is required, and its values, if they are listed."""

    names: frozenset[str]
    required: bool = False
    values: frozenset[str] = field(default_factory=frozenset)


def of_pages() -> list[tuple[str, list[str]]]:
    """The commands of all pages, by page: those of blocks, and those in a line."""
    found = []
    for page in PAGES:
        words = [command for command in commands(page) if command[0] == "az"]
        words += _nested(page)
        words += [shlex.split(text) for text in INLINE.findall(page.read_text())]
        found += [(page.name, command) for command in words]
    return found


def _nested(page: Path) -> list[list[str]]:
    """Those in $(…) of another command."""
    return [shlex.split(text) for text in re.findall(r"\$\((az [^)]*)\)", page.read_text())]


def of_messages() -> list[tuple[str, list[str]]]:
    """The commands in the texts of programs, by file; what a program fills in is X."""
    found = []
    for folder in ("scripts", "envs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if text := _text(node):
                    found += [(path.name, shlex.split(inner)) for inner in INLINE.findall(text)]
    return found


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
    return ""


@cache
def help_of(command: str) -> dict[str, Option]:
    """The options of a command, by each of their names, as `az … --help` lists them.

    Raises:
        AssertionError: there is no such command.
    """
    environment = os.environ | {"AZURE_CORE_COLLECT_TELEMETRY": "0", "AZURE_CONFIG_DIR": str(AZ.parents[1] / "config")}
    result = subprocess.run([AZ, *command.split(), "--help"], env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and re.search(r"^(Command|Group)$", result.stdout, re.M), f"no command: az {command}"
    found = {}
    for entry in re.split(r"\n    (?=--)", result.stdout)[1:]:
        head, _, text = entry.partition(" : ")
        names = frozenset(re.findall(r"(?<!\S)--?[a-z][\w-]*", head))
        said = " ".join(text.split("\n\n")[0].split())
        values = re.search(r"Allowed values: ([^.]*)\.", said)
        known = frozenset(value.strip() for value in values[1].split(",")) if values else frozenset()
        option = Option(names, "[Required]" in head, known)
        found |= dict.fromkeys(names, option)
    return found


def faults(words: list[str]) -> list[str]:
    """Return what is wrong with a command, a line each."""
    count = next((n for n, word in enumerate(words) if word.startswith("-")), len(words))
    command, given = " ".join(words[1:count]), words[count:]
    if command.startswith("ml "):
        unknown = {word for word in given if word.startswith("--")} - OF_EXTENSION.get(command, set())
        return (
            [f"az {command}: {', '.join(sorted(unknown)) or 'unknown'}"]
            if unknown or command not in OF_EXTENSION
            else []
        )
    try:
        options = help_of(command)
    except AssertionError as error:
        return [str(error)]
    found, seen = [], set()
    for number, word in enumerate(given):
        value = next(iter(given[number + 1 :]), "")
        if not word.startswith("-"):
            continue
        if word not in options:
            found.append(f"az {command} has no {word}")
            continue
        seen |= options[word].names
        if options[word].values and value not in options[word].values and not value.startswith("$"):
            found.append(f"az {command} {word}: {value!r} is none of {', '.join(sorted(options[word].values))}")
    required = {option for option in options.values() if option.required and not option.names & seen}
    if given:  # a command that is only named needs none
        found += [f"az {command} needs {' or '.join(sorted(option.names))}" for option in required]
    return found
