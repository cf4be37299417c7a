"""The documentation: what it names exists. `make docs-test` runs what it says (run_docs.py)."""

import ast
import errno
import os
import re
import subprocess
import sys
from functools import cache
from itertools import chain, dropwhile
from pathlib import Path

import numpy as np
import pytest

from documents import PAGES, commands
from pretrain_llama.tokenization.documents import Rejected
from pretrain_llama.tokenization.indexed import writing_indexed
from project import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import make_reference
import make_settings

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@cache
def options(program: str) -> set[str]:
    """The options that a program's help, or Snakemake's, names."""
    command = [sys.executable, "-m", "snakemake"] if program == "snakemake" else [sys.executable, str(ROOT / program)]
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", told))


def check_command(words: list[str]) -> None:
    """Check that the program, its options, the target or the profile of a command exist."""
    words = list(dropwhile(lambda word: re.match(r"\w+=", word), words))  # variables before it
    name, arguments = (words[0], words[1:]) if words else ("", [])
    if name == "python" and arguments and arguments[0].endswith(".py"):
        program = arguments[0].removeprefix("code/")
        if not (ROOT / program).exists():
            raise AssertionError(f"{program} does not exist")
        name, arguments = program, arguments[1:]
    elif name == "make":
        targets = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert {word for word in arguments if "=" not in word and not word.startswith("-")} <= set(targets), words
        return
    elif name != "snakemake":
        return
    given = {word.split("=")[0] for word in arguments if re.match(r"--?[a-zA-Z]", word)}
    assert given <= options(name), f"{name} has no {given - options(name)}"
    if name == "snakemake" and "--profile" in arguments:
        profile = arguments[arguments.index("--profile") + 1]
        assert (ROOT / profile / "config.yaml").exists(), profile


@pytest.mark.parametrize("name", NAMES)
def test_every_command_names_what_exists(name: str) -> None:
    for words in commands(ROOT / name):
        check_command(words)


def test_a_command_that_does_not_exist_is_found() -> None:
    for line in ("python scripts/no.py", "snakemake --no-such", "make nothing", "python scripts/train.py --no x"):
        with pytest.raises(AssertionError):
            check_command(line.split())


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub links to them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target


def test_the_reference_is_that_of_the_schemas_and_programs() -> None:
    assert make_reference.reference() == make_reference.OUTPUT.read_text(), "type: make reference"


def test_the_list_of_programs_is_that_of_their_first_lines() -> None:
    page = make_reference.programs()
    assert page == make_reference.PROGRAMS.read_text(), "type: make reference"
    assert all(page.count(f"[`{path.name}`]") == 1 for path in (ROOT / "scripts").glob("*.py"))


def test_the_settings_are_those_of_the_schemas() -> None:
    assert make_settings.settings() == make_settings.OUTPUT.read_text(), "type: make reference"


def test_the_readme_leads_to_every_page() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page in PAGES:
            reached.add(page)
            targets = re.findall(r"\]\(([^)\s#]+)", page.read_text())
            waiting += [(page.parent / target).resolve() for target in targets if not target.startswith("http")]
    assert reached == set(PAGES)


def test_the_answers_to_the_ten_questions_are_there() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Ten questions")[2]
    assert len(re.findall(r"^\| .*\? \|", section, re.M)) == 10
    named = re.findall(r"\]\((scripts/[^)]+)\): `(\w+)`", section)
    assert len(named) > 5
    for path, name in named:
        assert re.search(rf"^(?:def|class) {name}\b", (ROOT / path).read_text(), re.M), f"{path} has no {name}"


def test_the_worked_bytes_of_an_index_are_those_that_are_written(tmp_path: Path) -> None:
    with writing_indexed(tmp_path / "three", np.dtype(np.uint16)) as writer:
        writer.add_documents(np.arange(16, dtype=np.uint16), np.array([5, 3, 8]))
    idx = (tmp_path / "three.idx").read_bytes()
    page = (ROOT / "docs" / "formats.md").read_text()
    dumped = "\n".join(f"{at:08x}  {idx[at : at + 16].hex(' ')}" for at in range(0, len(idx), 16))
    assert f"```\n{dumped}\n```" in page
    assert len(idx) == 102 and "| **34 + 12 S + 8 D** | | **102** |" in page
    assert (tmp_path / "three.bin").stat().st_size == 32 and ": 32 bytes." in page
    many = 10**6
    assert f"{34 + 12 * many + 8 * (many + 1):,} of `.idx`" in page


def test_every_reason_of_a_rejection_is_explained() -> None:
    section = (ROOT / "docs" / "formats.md").read_text().partition("## Rejected lines")[2].partition("\n## ")[0]
    reasons = set(re.findall(r"^\| `(\w+)` \|", section, re.M))
    assert reasons == set(re.findall(r"^    (\w+)  ", Rejected.__doc__, re.M))


# Of the errors in docs/troubleshooting.md, those that are not ours.
OTHERS = {
    "snakemake: command not found",
    "Error: No Snakefile found",
    "No rule to produce",  # of Snakemake
    "argument --logger: invalid choice: 'stages'",
    "LockException: Error: Directory cannot be locked",
    "No solution found",  # of uv
    "salloc",
    # Of parts that are put together.
    "6.5 is not a whole number from 1 to 1e15",
    "'demo_8k' does not match '^[A-Za-z0-9][A-Za-z0-9-]*$'",
    "left alone in config/runs/…, since they are no part of a run",
    "Failed to fetch",
    "no YAML: … found character '\\t' that cannot start any token …, line 43",
    *(os.strerror(number).lower() for number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES)),
}


@cache
def messages() -> list[str]:
    """What our sources may print; \0 stands for a value."""
    found = re.findall(
        r'f"([^"]+)"', re.sub(r"\{[^{}]*(\{[^{}]*\})*[^{}]*\}", "\0", (ROOT / "rules/config.smk").read_text())
    )
    for path in chain.from_iterable((ROOT / part).rglob("*.py") for part in ("scripts", "envs/snakemake_plugins")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return [text for text in found if len(text.replace("\0", "")) > 8]


def is_printed(error: str) -> bool:
    """Say whether some message holds all parts of an error between its values, or is the error with values in it."""
    parts = [part.strip() for part in re.split(r"…|'[^']*'|\d[\d.,]*", error) if len(part.strip()) > 3]
    return any(
        all(part in message for part in parts)
        or ("\0" in message and re.search(".+".join(map(re.escape, message.split("\0"))), error))
        for message in messages()
    )


def test_every_error_in_troubleshooting_is_one_that_is_printed() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.M)
    errors = [error for row in rows for error in re.findall(r"`([^`]+)`", row)]
    assert errors
    assert [error for error in errors if error not in OTHERS and not is_printed(error)] == []
    assert not is_printed("no such error is printed")
