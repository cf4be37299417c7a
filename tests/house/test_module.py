"""The workflow as a module of another one: from a folder, and from a commit of a git repository."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from project import ROOT, Project

SOURCES = ("Snakefile", "workflow", "rules", "scripts", "config/schemas", "envs", "docs")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with the working tree as its one commit."""
    folder = tmp_path_factory.mktemp("repository")
    for part in SOURCES:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def use(project: Project, snakefile: str, names: str = "") -> None:
    """Make a project use the workflow as a module, with nothing of the workflow beside it."""
    for part in ("Snakefile", "rules", "scripts", "profiles", "envs", "docs", "config/schemas"):
        (project.folder / part).unlink()
    (project.folder / "Snakefile").write_text(
        'configfile: "config/config.yaml"\n\n'
        'onstart:\n    print("the user begins")\n\n'
        'onsuccess:\n    import gc\n    print("garbage:", gc.isenabled(), gc.get_freeze_count() > 0)\n\n'
        f'module pretrain_llama:\n    snakefile: "{snakefile}"\n    config: config\n\n'
        f"use rule * from pretrain_llama{names}\n\n"
        'rule own:\n    output: "own.txt"\n    shell: "echo own > {output}"\n'
    )


def test_a_workflow_from_git_works_under_other_names(project: Project, repository: Path, built: Project) -> None:
    use(project, f"git+file://{repository}/workflow/Snakefile@HEAD", " as llama_*")
    result = project.snakemake("--cores", "2", "--printshellcmds", "llama_data", "own")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "the user begins" in result.stdout + result.stderr
    assert "garbage: True True" in result.stdout + result.stderr, "but not in the graph"
    made, expected = (
        {path.relative_to(of.folder): path.read_bytes() for path in of.folder.glob("results/indexed/*/*")}
        for of in (project, built)
    )
    assert made and made == expected
    assert "python .snakemake/pretrain-llama/" in result.stdout + result.stderr, "the commit's own programs"
    assert "Nothing to be done" in project.snakemake("--cores", "2", "llama_data").stderr


def test_a_workflow_from_a_folder_previews_as_it_does_by_itself(project: Project, repository: Path) -> None:
    by_itself = project.pending()
    use(project, f"{repository}/Snakefile")
    assert project.pending("--cores", "2", "all") == by_itself | {"all": 1}  # whose screen leaves targets out


def test_both_snakefiles_include_the_same() -> None:
    ours, workflow = ((ROOT / place).read_text() for place in ("Snakefile", "workflow/Snakefile"))
    included = re.findall(r'include: "(.*)"', ours)
    assert [f"../{path}" for path in included] == re.findall(r'include: "(.*)"', workflow)
    assert {Path(path).name for path in included} == {path.name for path in (ROOT / "rules").glob("*.smk")}
