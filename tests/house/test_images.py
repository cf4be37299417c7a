"""The images' recipes, as far as they can be read without docker: what they copy and install is there."""

import os
import re
import subprocess
import sys
import venv
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import setuptools

from project import ROOT, SCRIPTS, Project
from trainings import Training
from wheels import make_wheel

# Recipe, and the folder that its build begins in; that of a training goes into the run folder.
LOCK = "torch==2.13.0\nnvidia-cublas==13.1.1.3\n    # via torch\nnumpy==2.5.5\ntiny==1.0\n"
RECIPES = {"envs/Dockerfile": ".", "envs/training/Dockerfile": "envs/training"}
TRAINING = ROOT / "envs" / "training"
KEPT = {
    "envs/Dockerfile": [
        "snakemake",
        "azure-storage-blob",
        "azure-batch",
        "pyarrow",
        "numpy",
        "pandas",
        "sentencepiece",
    ],
    "envs/training/Dockerfile": ["torch", "megatron-core", "psutil", "numpy", "pandas", "sentencepiece", "ipykernel"],
}
LEFT_OUT = {
    "envs/Dockerfile": ["torch", "triton", "nvidia-cublas", "matplotlib", "pytest"],
    "envs/training/Dockerfile": ["snakemake", "pytest"],
}


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
    (run,) = [line for line in instructions(recipe) if "rm -r /build" in line]
    made = set(re.findall(r"> /build/(\S+)", run))
    for command in (command for command in run.split("&&") if "install" in command):
        named = re.findall(r"/build/(\S+)", command)
        assert named or ("/build " in f"{command.strip()} " and "pyproject.toml" in there), command
        assert set(named) <= there.keys() | made, command


def test_a_training_image_has_what_the_studios_tensorboard_asks_for() -> None:
    """https://learn.microsoft.com/azure/machine-learning/how-to-interactive-jobs names both."""
    (system,) = [line for line in instructions("envs/training/Dockerfile") if "apt-get install" in line]
    (always,) = re.findall(r'^RUN packages="([^"]*)"', system)
    assert "openssh-server" in always.split() and "$packages" in system.partition("apt-get install")[2].split()
    lock = copied("envs/training/Dockerfile")["requirements.lock"].read_text()
    assert re.search(r"^ipykernel==6\.", lock, re.M)


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_image_has_what_its_programs_need_and_no_more(recipe: str) -> None:
    text = "\n".join(instructions(recipe))
    (pattern,) = re.findall(r"--invert-match\s+'([^']+)'\s+/build/requirements.lock", text) or ["(?!)"]
    lock = copied(recipe)["requirements.lock"].read_text().splitlines()
    names = {line.partition("==")[0] for line in lock if "==" in line and not re.search(pattern, line)}
    assert [name for name in KEPT[recipe] if name not in names] == []
    assert [name for name in LEFT_OUT[recipe] if name in names] == []


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A Python with pip alone, as an image has it."""
    venv.create(tmp_path / "base", with_pip=True)
    return tmp_path / "base" / "bin" / "python"


def build(base: Path, folder: Path, *requires: str) -> subprocess.CompletedProcess:
    """Do what the training image's recipe does, with wheels of a folder and an image's own constraints.

    Args:
        base: the image's Python.
        folder: for the wheels.
        requires: what the package `tiny` depends on.
    """
    (folder / "requirements.lock").write_text(LOCK)
    (folder / "constraint.txt").write_text("tiny==0.1\n")
    for pin in ("torch==2.13.0", "nvidia_cublas==13.1.1.3", "numpy==2.5.5"):
        make_wheel(folder / "wheels", *pin.split("=="))
    make_wheel(folder / "wheels", "tiny", "1.0", requires)
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "wheels"), "PIP_CONFIG_FILE": os.devnull}
    environment |= {"PIP_CONSTRAINT": str(folder / "constraint.txt")}
    command = [str(base), str(TRAINING / "install.py"), str(folder / "requirements.lock")]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def versions(base: Path) -> dict[str, str]:
    listing = 'from importlib.metadata import distributions as d; print(*(f"{p.name}=={p.version}" for p in d()))'
    said = subprocess.run([base, "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    return dict(pin.split("==") for pin in said if not pin.startswith(("pip=", "setuptools=")))


def test_an_image_without_torch_gets_the_lock(base: Path, tmp_path: Path) -> None:
    assert (result := build(base, tmp_path)).returncode == 0, result.stderr
    assert versions(base) == {"torch": "2.13.0", "nvidia_cublas": "13.1.1.3", "numpy": "2.5.5", "tiny": "1.0"}


def test_nvidias_image_keeps_its_own_builds(base: Path, tmp_path: Path) -> None:
    own = {"torch": "2.12.0a0+f2e0c1d.nv26.6", "transformer_engine": "2.14.0", "flash_attn": "2.7.4", "numpy": "2.1.0"}
    wheels = [str(make_wheel(tmp_path / "own", *pin)) for pin in own.items()]
    there = ["-m", "pip", "install", "--quiet", "--no-index", *wheels]
    subprocess.run([base, *there], check=True, env={"PIP_CONFIG_FILE": os.devnull})
    assert (result := build(base, tmp_path)).returncode == 0, result.stderr
    assert versions(base) == own | {"tiny": "1.0"}
    assert "kept as they are in the image:\n  flash-attn==2.7.4\n" in result.stdout
    subprocess.run([base, "-m", "pip", "uninstall", "--quiet", "--yes", "tiny"], check=True)
    result = build(base, tmp_path, "numpy>=2.4")
    assert result.returncode == 1 and "tiny 1.0 depends on numpy>=2.4" in result.stdout + result.stderr


def test_a_run_folder_has_all_that_its_image_is_built_from(built: Project) -> None:
    there = {path.name for path in (built.folder / "results" / "runs" / "tiny" / "environment").iterdir()}
    assert there == {"Dockerfile", *copied("envs/training/Dockerfile")}


def test_a_training_saves_with_the_packages_of_its_image_alone(training: Training, tmp_path: Path) -> None:
    """megatron-core asks for psutil when it saves, and no package of its names it."""
    lock = (TRAINING / "requirements.lock").read_text()
    locked = {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^([\w.-]+)==", lock, re.M)}
    # setuptools, which torch imports, brings packages that others here bring, too.
    brought = {path.name for path in (Path(setuptools.__file__).parent / "_vendor").iterdir()}
    others = [
        module
        for module, names in packages_distributions().items()
        if module not in brought
        and not {re.sub(r"[-_.]+", "-", name).lower() for name in names} & (locked | {"pip", "setuptools"})
    ]
    assert "snakemake" in others and "psutil" not in others
    (tmp_path / "without").mkdir()
    blocked = f"import sys\nsys.modules |= dict.fromkeys({others!r})\n"
    (tmp_path / "without" / "sitecustomize.py").write_text(blocked)
    copy = training.copied(tmp_path / "run", training={"iterations": 2, "warmup_iterations": 0})
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'without'}:{SCRIPTS}"}
    command = [sys.executable, str(SCRIPTS / "train.py"), str(copy.folder)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (copy.output / "finished.json").exists()
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line]
    said = (
        "phase 1,",
        "evaluating ",
        "evaluated in ",
        "index of the training sequences",
        "started at iteration 0",
        "iteration ",
    )
    assert [line for line in lines if not line.startswith(said)] == [], "and no library says a word"
