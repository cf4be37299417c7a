"""The images' recipes, as far as they can be read without docker: what they copy and install is there."""

import re
from pathlib import Path

import pytest

from project import ROOT

# Recipe, and the folder that its build begins in; that of a training goes into the run folder.
RECIPES = {"envs/Dockerfile": ".", "envs/training/Dockerfile": "envs/training"}
KEPT = {
    "envs/Dockerfile": ["snakemake", "azure-storage-blob", "azure-batch", "pyarrow", "numpy", "sentencepiece"],
    "envs/training/Dockerfile": ["torch", "megatron-core", "numpy", "sentencepiece"],
}
LEFT_OUT = {"envs/Dockerfile": ["torch", "matplotlib", "pytest"], "envs/training/Dockerfile": ["snakemake", "pytest"]}


def instructions(recipe: str) -> list[str]:
    text = re.sub(r"^#.*\n", "", (ROOT / recipe).read_text(), flags=re.M)
    return re.sub(r"\\\n\s*", "", text).splitlines()


def copied(recipe: str) -> dict[str, Path]:
    """What lies in the image's /build, by name; docker copies the contents of a folder."""
    found = {}
    for line in (line for line in instructions(recipe) if line.startswith("COPY ")):
        *sources, target = line.split()[1:]
        assert target == "/build/", line
        for source in sources:
            place = ROOT / RECIPES[recipe] / source
            assert place.exists(), f"{recipe} copies {source}"
            found |= {path.name: path for path in (place.iterdir() if place.is_dir() else [place])}
    return found


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_an_image_installs_is_copied_or_made_there(recipe: str) -> None:
    there = copied(recipe)
    (run,) = [line for line in instructions(recipe) if "pip install" in line]
    made = set(re.findall(r"> /build/(\S+)", run))
    for command in (command for command in run.split("&&") if "pip install" in command):
        installed = re.findall(r"--requirement /build/(\S+)", command)
        assert installed or ("/build " in f"{command.strip()} " and "pyproject.toml" in there), command
        assert set(installed) <= there.keys() | made, command


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_image_has_what_its_programs_need_and_no_more(recipe: str) -> None:
    text = "\n".join(instructions(recipe))
    (pattern,) = re.findall(r"--invert-match\s+'([^']+)'\s+/build/requirements.lock", text) or ["(?!)"]
    lock = copied(recipe)["requirements.lock"].read_text().splitlines()
    names = {line.partition("==")[0] for line in lock if "==" in line and not re.search(pattern, line)}
    assert [name for name in KEPT[recipe] if name not in names] == []
    assert [name for name in LEFT_OUT[recipe] if name in names] == []
