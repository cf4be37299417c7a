"""The programs and the package as a whole: help, cheap imports, names that agree."""

import re
import subprocess
import sys

import pytest

from project import ROOT, SCRIPTS, run_script

PROGRAMS = sorted(path.name for path in SCRIPTS.glob("*.py"))
# What trains, and what speaks to Azure: the only modules that need not be light.
TRAINS = (
    "batches blend board cpu data distributed_optimizer figures logits logs loop model optimizer processes resumption "
    "saving sequences state step"
)
MAY_BE_HEAVY = {"blob_lease", "blob_service", "blobs", *(f"training.{module}" for module in TRAINS.split())}
HEAVY = {
    *("blob_lease", "blob_service", "blobs"),
    *(
        f"training.{module}"
        for module in (
            *("batches", "blend", "board", "cpu", "data", "distributed_optimizer", "figures", "logits", "logs", "loop"),
            *("model", "optimizer", "processes", "resumption", "saving", "sequences", "state", "step"),
        )
    ),
}
HEAVY = {"torch", "transformers", "snakemake", "megatron", "azure"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_says_how_to_call_it(program: str) -> None:
    result = run_script(program, "--help")
    assert result.returncode == 0, result.stderr
    assert re.search(rf"python (code/)?scripts/{program}", result.stdout)


IMPORT_EACH = """
import importlib, sys
known = set()
for module in sys.argv[1:]:
    importlib.import_module(module)
    for heavy in {heavy} & sys.modules.keys() - known:
        print(module, "imports", heavy)
        known.add(heavy)
"""


def test_the_package_imports_nothing_heavy() -> None:
    """A torch import costs seconds and hundreds of megabytes in every shard job."""
    package = SCRIPTS / "pretrain_llama"
    paths = sorted(path.relative_to(package).with_suffix("") for path in package.rglob("*.py"))
    modules = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    assert set(modules) >= MAY_BE_HEAVY
    light = [f"pretrain_llama.{module}" for module in modules if module not in {*MAY_BE_HEAVY, "__init__"}]
    command = [sys.executable, "-c", IMPORT_EACH.replace("{heavy}", repr(HEAVY)), *light]
    result = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert result.stdout == ""


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
