"""Sweeps: a run for each point of a grid, named by what varies, and launched as any other."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pretrain_llama.run import sweeps
from project import ROOT, Project, Result, run_script

GRID = {"training.learning_rate": [1e-3, 3e-5], "lang_prob.ar": [0.25, 0.5]}
POINTS = [f"rates.learning_rate-{rate}_ar-{share}" for rate in ("0.001", "3e-05") for share in (0.25, 0.5)]


def write(project: Project, grid: dict[str, Any], run: str = "tiny", **more: Any) -> Result:
    """Write config/sweeps/rates.yaml, and its runs."""
    path = project.folder / "config" / "sweeps" / "rates.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({"run": run, "grid": grid} | more, sort_keys=False))
    return run_script("write_sweep.py", "config/sweeps/rates.yaml", cwd=project.folder)


def point(project: Project, name: str) -> Path:
    return project.folder / "config" / "runs" / name


def test_a_grid_becomes_runs_that_snakemake_launches(project: Project) -> None:
    project.run["training"]["min_learning_rate"] = 0.0  # which has to be below those of the grid
    project.save()
    result = write(project, GRID)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[:-1] == [f"config/runs/{name}" for name in POINTS]
    project.config["runs"] = ["tiny", "rates.*"]
    project.save()
    pending = project.pending()
    for rule in ("compute_probabilities", "write_run_folder", "launch_training", "export_checkpoint"):
        assert pending[rule] == 1 + 4, "tiny, and the points"
    for rule in ("sign_data", "convert_checkpoint"):
        assert pending[rule] == 1, "what they share is made once"


def test_a_point_is_its_run_but_for_what_the_grid_sets(project: Project) -> None:
    project.choose("lang_prob.json", {"en": 6, "ar": 2, "fr": 2})
    assert write(project, GRID).returncode == 0
    base = yaml.safe_load((point(project, "tiny") / "run.yaml").read_text())
    for name in POINTS:
        run = yaml.safe_load((point(project, name) / "run.yaml").read_text())
        shares = json.loads((point(project, name) / "lang_prob.json").read_text())
        sets = yaml.safe_load((point(project, name) / "sweep.yaml").read_text())["sets"]
        assert run == base | {"training": base["training"] | {"learning_rate": sets["training.learning_rate"]}}
        assert shares["ar"] == sets["lang_prob.ar"]
        assert sum(shares.values()) == pytest.approx(1) and shares["en"] == pytest.approx(3 * shares["fr"])
        ratio = "data_ratio.json"
        assert (point(project, name) / ratio).read_bytes() == (point(project, "tiny") / ratio).read_bytes()


def test_parallel_sizes_can_vary(project: Project) -> None:
    assert write(project, {"parallel.tensor": [1, 2], "parallel.data": [1, 2]}).returncode == 0
    sizes = [
        yaml.safe_load((point(project, f"rates.tensor-{tensor}_data-{data}") / "run.yaml").read_text())["parallel"]
        for tensor in (1, 2)
        for data in (1, 2)
    ]
    assert [(size["tensor"], size["data"]) for size in sizes] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    project.config["runs"] = ["rates.*"]
    project.save()
    pending = project.pending()
    assert (pending["launch_training"], pending["compute_probabilities"]) == (4, 4)
    assert pending["convert_checkpoint"] == 2, "one for each tensor parallel size, whose vocabulary is padded for it"


def test_a_changed_grid_writes_anew_and_names_what_is_left_over(project: Project) -> None:
    write(project, GRID)
    result = write(project, {"training.learning_rate": [1e-3], "lang_prob.ar": [0.25, 0.5]})
    assert result.stdout.count("no point of the grid any more") == 2
    assert point(project, POINTS[3]).exists()


def test_a_sweep_may_vary_a_point_of_its_own(project: Project) -> None:
    """The best one of a grid, say, in a finer grid that has it, too."""
    write(project, GRID)
    best = yaml.safe_load((point(project, POINTS[0]) / "run.yaml").read_text())
    result = write(project, {"training.learning_rate": [1e-3, 2e-3], "lang_prob.ar": [0.25]}, run=POINTS[0])
    assert result.returncode == 0, result.stderr
    assert yaml.safe_load((point(project, POINTS[0]) / "run.yaml").read_text()) == best
    finer = yaml.safe_load((point(project, "rates.learning_rate-0.002_ar-0.25") / "run.yaml").read_text())
    assert finer == best | {"training": best["training"] | {"learning_rate": 2e-3}}


def test_a_point_is_written_whole_or_not_at_all(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a copy of the base run would stand under its name, and be trained."""
    write(project, GRID)
    before = contents(point(project, ""))
    base, points = sweeps.load(project.folder / "config" / "sweeps" / "rates.yaml")

    def full_disk(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(sweeps, "write_text", full_disk)
    points = [*points, sweeps.Point("rates.new", {"training.seed": 2})]
    for written in (points, points[-1:]):
        with pytest.raises(OSError, match="no space left"):
            sweeps.write_points(point(project, base), written, point(project, ""))
    assert contents(point(project, "")) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"training.learning_rat": [1e-3]}, "unknown key 'learning_rat'"),
        ({"training.learning_rate": [1e-3, -1.0]}, "-1.0 is not a number above 0"),
        ({"training.learning_rate": []}, "grid.training.learning_rate"),
        ({}, "grid"),
        ({"lang_prob.xx": [0.5]}, "language 'xx' has no share"),
        ({"lang_prob.ar": [1.5]}, "leave -0.5 to en"),
        ({"lang_prob.ar": [0.5], "lang_prob.en": [0.7]}, "leave -0.2 to no other language"),
        ({"training.seed": [1], "sample.seed": [1]}, "unknown key 'seed'"),
        ({"lang_prob.ar": [0.5000001, 0.5000002]}, "two points would have the same name"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(project: Project, grid: dict[str, Any], said: str) -> None:
    result = write(project, grid)
    assert result.returncode == 2
    assert said in result.stderr
    assert not list(point(project, "").glob("rates.*"))


def test_other_runs_are_never_overwritten_and_missing_ones_named(project: Project) -> None:
    name = "rates.learning_rate-0.001_ar-0.25"
    point(project, name).mkdir()
    result = write(project, GRID)
    assert result.returncode == 2
    assert "a run of this name is there, which no sweep wrote" in result.stderr
    point(project, name).rmdir()  # empty, as it was
    assert "no such file" in write(project, GRID, run="none").stderr
    assert "unknown key 'gird'" in write(project, GRID, gird=1).stderr

    project.config["runs"] = ["other.*"]
    project.save()
    result = project.snakemake("--dry-run")
    assert result.returncode != 0
    assert "no run is called other.*" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no keys in the file"),
        ("run: tiny\ngrid: {training.seed: 1}\n", "next:  Values of the key, in a list, none of them twice."),
        (
            "run: tiny\ngrid: {training.seed: ['1e3']}\n",
            "next:  YAML reads this as text: write the exponent as in 3.0e-3, and no quotes",
        ),
    ],
)
def test_a_sweep_of_another_form_is_told_the_right_one(project: Project, content: str, said: str) -> None:
    (project.folder / "rates.yaml").write_text(content)
    result = run_script("write_sweep.py", project.folder / "rates.yaml", cwd=project.folder)
    assert result.returncode == 2 and said in result.stderr, result.stderr


def test_the_shipped_sweep_is_one(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config" / "runs" / "demo", tmp_path / "demo")
    result = run_script("write_sweep.py", ROOT / "config" / "sweeps" / "demo-rates.yaml", "--runs", tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.glob("demo-rates.*"))) == 4
