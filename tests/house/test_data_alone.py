"""The data side alone: no checkpoint, no run, and no package that envs/data/requirements.lock does not name."""

import json
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from project import ROOT, Project

LOCKS = {name: ROOT / "envs" / name / "requirements.lock" for name in ("", "data")}
NEVER_INSTALLED = {"torch", "triton", "megatron-core", "transformers", "safetensors", "tensorboard", "pytest"}


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)$", lock.read_text(), re.M))


def test_the_data_side_has_a_lock_of_its_own_with_the_same_versions() -> None:
    all_pins, data_pins = map(pins, LOCKS.values())
    assert data_pins.items() < all_pins.items()
    assert {"snakemake", "gigatoken", "pyarrow", "azure-storage-blob"} <= data_pins.keys()
    assert not NEVER_INSTALLED & data_pins.keys() and all_pins.keys() >= NEVER_INSTALLED
    asked = (ROOT / "envs" / "requirements.in").read_text().splitlines()
    assert "-r data/requirements.in" in asked, "so that the two ask for one thing once"


def test_text_is_merged_tokenized_and_signed_without_a_checkpoint_a_run_or_torch(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = pins(LOCKS[""]).keys() - pins(LOCKS["data"]).keys()
    names = packages_distributions().items()
    blocked = [module for module, packages in names if {package.lower() for package in packages} <= others]
    assert {"torch", "transformers", "megatron"} <= set(blocked)
    (project.folder / "sitecustomize.py").write_text(f"import sys\nsys.modules |= dict.fromkeys({blocked!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(project.folder), prepend=":")
    project.config["held_out_fraction"] = 0
    del project.config["checkpoints"], project.config["runs"]
    project.save()
    result = project.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    (tokenized,) = (project.folder / "results" / "tokenized").iterdir()
    assert json.loads((tokenized / "conservation.json").read_text())["total"]["documents"] == 400
    assert (tokenized / "documents.html").exists() and list((project.folder / "results" / "indexed").rglob("*.idx"))
    assert not {"checkpoints", "runs"} & {path.name for path in (project.folder / "results").iterdir()}
    assert sys.modules.get("torch", ...) is not None, "blocked there, not here"
