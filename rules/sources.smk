"""
Locate the programs and the lock: beside the Snakefile, also where another workflow uses it as a module. Of a module
from a git repository, Snakemake fetches single files. Ours need each other, so all files of that commit are unpacked.

OUTPUTS
    .snakemake/pretrain-llama/{commit}/     only of a module from a git repository
"""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PROGRAM_FOLDERS = ("scripts", "config/schemas", "envs")


def sources():
    """Return the folder that holds scripts/, config/schemas/ and envs/, as the jobs' shells find it."""
    rules = workflow.current_basedir
    if isinstance(rules, os.PathLike):
        folder = Path(rules).parent
        return os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else str(folder)
    repository = rules.hosted_repo.repo.git_dir if hasattr(rules, "hosted_repo") else rules.repo_path
    git = ["git", "-C", str(repository)]
    commit = subprocess.run([*git, "rev-parse", rules.ref], check=True, capture_output=True, text=True).stdout.strip()
    folder = Path(".snakemake", "pretrain-llama", commit)
    if not folder.exists():
        archive = subprocess.run([*git, "archive", commit, *PROGRAM_FOLDERS], check=True, capture_output=True).stdout
        folder.parent.mkdir(parents=True, exist_ok=True)
        unpacked = Path(tempfile.mkdtemp(dir=folder.parent))
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python has it from 3.11.4 on
            tar.extractall(unpacked)
        try:
            unpacked.rename(folder)
        except OSError:  # another Snakemake was faster
            pass
    return str(folder)


SOURCES = sources()
SCRIPTS = os.path.normpath(f"{SOURCES}/scripts")
LOCK = os.path.normpath(f"{SOURCES}/envs/requirements.lock")
sys.path.insert(0, str(Path(SCRIPTS).resolve()))
