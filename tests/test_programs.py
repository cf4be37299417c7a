"""The programs and the package as a whole: help, cheap imports, names that agree."""

import re
import subprocess
import sys

import pytest

from project import ROOT, SCRIPTS, run_script

PROGRAMS = sorted(path.name for path in SCRIPTS.glob("*.py"))
LIGHT = [
    "names",
    "errors",
    "files",
    "stores",
    "receipts",
    "configuration",
    "shards",
    "tokenization",
    "mixture",
    "doctor",
    "checkpoints",
]
HEAVY = ["torch", "transformers", "snakemake", "megatron", "azure"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_says_how_to_call_it(program: str) -> None:
    result = run_script(program, "--help")
    assert result.returncode == 0, result.stderr
    assert re.search(rf"python (code/)?scripts/{program}", result.stdout)


@pytest.mark.parametrize("part", LIGHT)
def test_the_data_side_imports_nothing_heavy(part: str) -> None:
    """A torch import costs seconds and hundreds of megabytes in every shard job."""
    package = SCRIPTS / "pretrain_llama" / part
    files = sorted(package.glob("*.py")) if package.is_dir() else [package.with_suffix(".py")]
    modules = [
        f"pretrain_llama.{part}" + ("" if file.stem in (part, "__init__") else f".{file.stem}") for file in files
    ]
    code = f"import {', '.join(modules)}, sys; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


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
