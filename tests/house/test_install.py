"""envs/install.sh: which Python it takes, and which build of torch, with pip and with uv; and the locks it reads."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from project import ROOT, Result
from wheels import make_index

LOCK = (
    "torch==2.13.0\n    # via -r requirements.in\nnvidia-cublas==13.1.1.3\n    # via torch\ntiny==1.0\ntriton==3.7.1\n"
)
MAIN = (
    "torch==2.13.0",
    "nvidia_cublas==13.1.1.3",
    "triton==3.7.1",
    "tiny==1.0",
    "pip==26.0",
)  # uv takes pip from there
CPU = ("torch==2.13.0+cpu", "tiny==0.9")  # an index of builds has old versions of other packages, too
TOOLS = ("bash", "dirname", "sed", "mktemp", "rm")
BASE = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
INSTALLERS = ["pip", pytest.param("uv", marks=pytest.mark.skipif(not shutil.which("uv"), reason="uv is not there"))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone's envs/, with a lock of its own, and a path with the few tools that the script needs."""
    for part in ("envs", "bin", "pyenv"):
        (tmp_path / part).mkdir()
    shutil.copy(ROOT / "envs" / "install.sh", tmp_path / "envs")
    (tmp_path / "envs" / "requirements.lock").write_text(LOCK)
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    return tmp_path


def install(folder: Path, *python: str, uv: bool = False, **environment: str) -> Result:
    """Run the script where nothing else is on the path; indexes are folders."""
    if uv:
        (folder / "bin" / "uv").symlink_to(shutil.which("uv") or "uv")
    url = make_index(folder / "main", *MAIN)
    environment |= {"PATH": str(folder / "bin"), "HOME": str(folder), "PYENV_ROOT": str(folder / "pyenv")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url, "UV_DEFAULT_INDEX": url, "UV_NO_CONFIG": "1"}
    command = [str(folder / "envs" / "install.sh"), str(folder / "venv"), *python]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def installed(folder: Path) -> dict[str, str]:
    """The packages of the environment, by name, without pip."""
    listing = 'from importlib.metadata import distributions as d; print(*(f"{p.name}=={p.version}" for p in d()))'
    said = subprocess.run([folder / "venv/bin/python", "-c", listing], capture_output=True, text=True, check=True)
    pairs = [word.split("==") for word in said.stdout.split()]
    return {name: version for name, version in pairs if name not in ("pip", "setuptools", "wheel")}


def refused(result: Result, problem: str, action: str) -> bool:
    return result.returncode == 2 and problem in result.stderr and f"  next:  {action}" in result.stderr


def test_without_a_fitting_python_it_says_what_to_install(folder: Path) -> None:
    result = install(folder)
    assert refused(result, "operation error: no Python 3.12 or 3.13\n", "install one, with uv python install 3.12")
    assert refused(install(folder, "/bin/false"), "no Python 3.12 or 3.13: ", "name another one")
    assert not (folder / "venv").exists()


def test_a_folder_that_is_no_environment_stays(folder: Path) -> None:
    (folder / "venv").mkdir()
    (folder / "venv" / "kept").touch()
    assert refused(install(folder, str(BASE)), "no virtual environment", "move it away")
    assert (folder / "venv" / "kept").exists()


def test_an_environment_behind_a_link_is_not_cleared(folder: Path) -> None:
    (folder / "shared").mkdir()
    for name in ("pyvenv.cfg", "kept"):
        (folder / "shared" / name).touch()
    (folder / "venv").symlink_to(folder / "shared")
    assert refused(install(folder, str(BASE)), "a link to an environment that others may work with", "install where")
    assert (folder / "shared" / "kept").exists()


def test_a_build_of_torch_that_nobody_knows_is_refused(folder: Path) -> None:
    assert refused(install(folder, str(BASE), TORCH="gpu"), "TORCH is gpu", "set TORCH=cpu")


def test_it_takes_pyenvs_python_and_what_is_locked(folder: Path) -> None:
    (folder / "bin" / BASE.name).write_text("#!/bin/sh\necho pyenv: version not installed >&2\nexit 127\n")
    (folder / "bin" / BASE.name).chmod(0o755)  # as pyenv has it, where another version is chosen
    own = folder / "pyenv" / "versions" / f"{BASE.name.removeprefix('python')}.1" / "bin"
    own.mkdir(parents=True)
    (own / "python").symlink_to(BASE)
    result = install(folder)
    assert result.returncode == 0, result.stderr
    assert installed(folder) == {
        "torch": "2.13.0",
        "nvidia_cublas": "13.1.1.3",
        "triton": "3.7.1",
        "tiny": "1.0",
    }


@pytest.mark.parametrize("installer", INSTALLERS)
def test_torch_for_the_cpu_leaves_cuda_out(folder: Path, installer: str) -> None:
    index = make_index(folder / "cpu", *CPU)
    result = install(folder, str(BASE), uv=installer == "uv", TORCH="cpu", CPU_INDEX=index)
    assert result.returncode == 0, result.stderr
    assert installed(folder) == {"torch": "2.13.0+cpu", "tiny": "1.0"}


def test_the_data_side_alone_takes_its_own_lock(folder: Path) -> None:
    (folder / "envs" / "data").mkdir()
    (folder / "envs" / "data" / "requirements.lock").write_text("tiny==1.0\n")
    result = install(folder, str(BASE), EXTRAS="data")
    assert result.returncode == 0, result.stderr
    assert installed(folder) == {"tiny": "1.0"}
    assert refused(install(folder, str(BASE), EXTRAS="dat"), "EXTRAS is dat", "set EXTRAS=data")


def test_without_such_a_build_it_takes_no_other(folder: Path) -> None:
    result = install(folder, str(BASE), TORCH="cpu", CPU_INDEX="")
    assert result.returncode == 1 and "No matching distribution found for torch==2.13.0+cpu" in result.stderr


@pytest.mark.parametrize("lock", ["envs/requirements.lock", "envs/training/requirements.lock"])
def test_a_lock_has_versions_alone_and_all_that_torch_needs(lock: str) -> None:
    pins = [line for line in (ROOT / lock).read_text().splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9.-]+==[a-z0-9.]+", line)] == []
    names = {line.partition("==")[0] for line in pins}
    assert {"torch", "triton", "nvidia-cudnn-cu13", "psutil"} <= names


def test_python_is_one_version_everywhere() -> None:
    version = (ROOT / ".python-version").read_text().strip()
    assert f"python={version}\n" in (ROOT / "envs" / "environment.yaml").read_text()
    for recipe in ("envs/Dockerfile", "envs/training/Dockerfile"):
        assert f"python:{version}." in (ROOT / recipe).read_text()
    settings = (ROOT / "pyproject.toml").read_text()
    assert (
        f'target-version = "py{version.replace(".", "")}"' in settings and f'python_version = "{version}"' in settings
    )
