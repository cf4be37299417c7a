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
    with_programs = {name: body for name, body in blocks if "python scripts/" in body}
    assert len(with_programs) >= 13
    for name, body in with_programs.items():
        assert f"python scripts/{name}.py" in body
        assert f"results/logs/{name}/" in body
        assert f"results/benchmarks/{name}/" in body
