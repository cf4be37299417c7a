"""The programs: help, and names that agree with those of the rules."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from project import ROOT, SCRIPTS, run_script

PROGRAMS = sorted(path.name for path in SCRIPTS.glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_says_how_to_call_it(program: str) -> None:
    result = run_script(program, "--help")
    assert result.returncode == 0, result.stderr
    example = re.search(rf"python (code/)?scripts/{program}.*", result.stdout)
    assert example and not re.search(r"\S {4,}--", example[0]), "lines that are joined"


def test_rule_program_log_and_benchmark_share_one_name() -> None:
    rules = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    blocks = re.findall(r"^(?:rule|checkpoint) (\w+):\n(.*?)(?=^\S|\Z)", rules, re.M | re.S)
    with_programs = {name: body for name, body in blocks if "python {SCRIPTS:q}/" in body}
    assert len(with_programs) >= 22
    for name, body in with_programs.items():
        assert f"python {{SCRIPTS:q}}/{name}.py" in body
        assert f"results/logs/{name}/" in body
        assert f"results/benchmarks/{name}/" in body


# What Snakemake's linter finds, and why it is so here.
MEANT = {
    "Shell command directly uses variable SCRIPTS from outside of the rule": "it is where the programs are",
    "Shell command directly uses variable config from outside of the rule": "a changed limit makes no shard anew",
    "Specify a conda environment or container for each rule.": "one lock serves all: envs/environment.yaml",
    "Mixed rules and functions in same snakefile.": "short look-ups stand beside the rules that they serve",
}


def test_snakemakes_linter_finds_only_what_is_meant() -> None:
    command = [sys.executable, "-m", "snakemake", "--lint"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = set(re.findall(r"^    \* (.*?):?$", result.stderr, re.M))
    assert found == set(MEANT), "put it right, or say here why it is meant"


PRINTING = """
import os
from pretrain_llama import errors

def main():
    os.read(0, 1)  # until the reader has left
    {main}

errors.run_program(main)
"""


@pytest.mark.parametrize(
    ("main", "code"),
    [
        ("for line in range(100_000): print(line)", 141),
        ("print('too little to be written before the end')", 0),
        ("print('differs'); raise SystemExit(1)", 1),
    ],
)
def test_a_program_whose_reader_has_left_ends_quietly(main: str, code: int) -> None:
    assert end_without_reader(main) == (code, "")


def test_what_a_person_can_act_on_is_said_without_a_reader_and_other_broken_pipes_are_errors() -> None:
    refused = "print(1); raise errors.DataError('it is spoilt', where='data', action='mend it')"
    code, printed = end_without_reader(refused)
    assert code == 2 and printed.startswith("data error: it is spoilt")
    command = [sys.executable, "-c", PRINTING.format(main="raise BrokenPipeError('of a server')")]
    result = subprocess.run(command, cwd=SCRIPTS, input="x", capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.endswith("BrokenPipeError: of a server\n")


def end_without_reader(main: str) -> tuple[int, str]:
    """Return the exit code of a program whose output nobody reads any more, and what it said of it."""
    command = [sys.executable, "-c", PRINTING.format(main=main)]
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=SCRIPTS, env=buffered, **pipes, text=True) as process:
        process.stdout.close()
        process.stdin.close()
        printed = process.stderr.read()
    return process.returncode, printed


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("plot_fertility.py", ["--fertility", "missing", "--output", "plot.png"]),
        ("plot_fertility.py", ["--fertility", "folder", "--output", "plot.png"]),
        ("write_sweep.py", ["folder"]),
        ("sample_text.py", ["--model", "folder", "--run", str(ROOT / "config/runs/demo"), "--output", "sample.txt"]),
        ("plot_mixture.py", ["--mixture", "missing", "--title", "none", "--output", "mixture.html"]),
        ("export_checkpoint.py", ["--checkpoint", "folder", "--like", "file", "--output", "exported"]),
    ],
)
def test_a_path_that_names_nothing_or_something_else_is_no_traceback(
    tmp_path: Path, program: str, arguments: list[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    result = run_script(program, *arguments, cwd=tmp_path)
    assert result.returncode == 2 and "Traceback" not in result.stderr and "Errno" not in result.stderr, result.stderr
    assert re.search(r"\n  where: (missing|folder|file/config\.json)\n  next:  ", result.stderr)
