"""What a newcomer's machine lacks or forbids: each is told on one screen, and leaves nothing half."""

import gzip
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pretrain_llama.launch.start_files import LAUNCH
from project import PREFIX, SCRIPTS, SHARD, Project, Result, jsonl, merge_shard, plan_files
from screens import CORPORA, NEWS, check_screen, row_of_news, write

# Root may read and write all; without these capabilities, what the modes of its files allow.
AS_A_USER = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []


def test_outside_of_the_project_there_is_no_snakefile(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1 and "No Snakefile found" in result.stderr


def test_a_missing_package_is_told(project: Project, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text('import sys\nsys.modules["blake3"] = None\n')
    command = [sys.executable, "-m", "snakemake", "--dry-run"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "without")}
    result = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True)
    check_screen(result, "Python packages are missing: blake3", sys.executable, "make install && source .venv")


def test_a_launch_outside_of_the_environment_is_told(tmp_path: Path) -> None:
    (tmp_path / "launch.sh").write_text(LAUNCH)
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # -S: without packages
    (tmp_path / "python").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    result = subprocess.run(["bash", tmp_path / "launch.sh"], env=environment, capture_output=True, text=True)
    check_screen(result, f"no python with the packages of this run: {tmp_path}/python", "activate their environment")


def with_little_room(name: str, *args: object) -> Result:
    """Run a program that may write no file of more than 5,000 bytes."""
    command = [sys.executable, str(SCRIPTS / name), *map(str, args)]
    limits = (5_000, 5_000)
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, tokenizer_model: Path, llama: Path) -> None:
    vendor = tmp_path / "a.jsonl"
    vendor.write_bytes(jsonl([f"A tale of {n} ships, and of the sea." for n in range(3000)]))
    plan = plan_files(tmp_path, vendor)
    outputs = ["--output", tmp_path / "full.jsonl", "--receipt", tmp_path / "full.json"]
    merged = with_little_room("merge_shard.py", "--plan", plan, "--shard", SHARD, *outputs)
    check_screen(merged, f"where: {tmp_path}/full.jsonl", "make room there")
    assert merge_shard(tmp_path, vendor).returncode == 0
    before = sorted(tmp_path.iterdir())
    shard = ["--shard", SHARD, "--jsonl", tmp_path / "shard.jsonl", "--merge-receipt", tmp_path / "merge.json"]
    tokenizer = ["--text-key", "text", "--tokenizer", "toy.01234567", "--tokenizer-model", tokenizer_model]
    prefix = ["--output-prefix", tmp_path / PREFIX]
    check_screen(with_little_room("tokenize_shard.py", *shard, *tokenizer, *prefix), SHARD, "make room there")
    converted = ["--source", llama, "--output", tmp_path / "converted"]
    check_screen(with_little_room("convert_checkpoint.py", *converted), f"{tmp_path}/converted", "make room there")
    assert sorted(tmp_path.iterdir()) == before


def as_a_user(project: Project, *command: str) -> Result:
    return subprocess.run([*AS_A_USER, sys.executable, *command], cwd=project.folder, capture_output=True, text=True)


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root may do everything")
@pytest.mark.parametrize("path", [NEWS, "vendor/ar_news_daily", CORPORA])
def test_what_must_not_be_read_is_told(project: Project, path: str) -> None:
    (project.folder / path).chmod(0)
    result = as_a_user(project, str(SCRIPTS / "plan_shards.py"), "--dry-run")
    (project.folder / path).chmod(0o755)
    check_screen(result, "permission denied", f"where: {path}", "ls -ld shows whose it is")


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root may do everything")
def test_a_folder_that_a_glob_must_not_read_is_told(project: Project) -> None:
    project.vendor("ar_news_daily/closed/b.jsonl", jsonl(["one"]))
    row_of_news(source="vendor/ar_news_daily/**/*.jsonl")(project)
    closed = project.folder / "vendor/ar_news_daily/closed"
    closed.chmod(0)
    result = as_a_user(project, str(SCRIPTS / "plan_shards.py"), "--dry-run")
    closed.chmod(0o755)
    check_screen(result, "permission denied", "where: vendor/ar_news_daily/closed", "ls -ld shows whose it is")


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root may do everything")
def test_what_must_not_be_written_is_told(project: Project, tmp_path: Path) -> None:
    project.folder.chmod(0o555)
    result = as_a_user(project, "-m", "snakemake")
    project.folder.chmod(0o755)
    check_screen(result, "permission denied", f"where: {project.folder}\n")
    (project.folder / "results").mkdir(mode=0o555)
    result = as_a_user(project, "-m", "snakemake", f"results/shards/{SHARD}.jsonl")
    assert "permission denied\n  where: results/plan\n  next:  " in result.stderr and result.returncode == 1


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        program = (
            "from pretrain_llama.errors import run_program\n"
            "from pretrain_llama.run.ranks import Ranks\n"
            "from pretrain_llama.training.processes import process_groups\n"
            f"run_program(process_groups(1, 1, 'a test', Ranks(0, 2, 0, 2, '127.0.0.1', {port})).__enter__)\n"
        )
        environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
        result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    check_screen(result, "Address already in use", f"127.0.0.1:{port}", "choose another MASTER_PORT")


def test_the_screen_ends_with_what_failed(project: Project) -> None:
    whole = gzip.compress(jsonl([f"A tale of {n} ships." for n in range(2000)]))
    write("vendor/ar_news_daily/b.jsonl.gz", whole[:-200])(project)
    result = project.snakemake("results/shards/ar_news_daily_split_0001.jsonl", f"results/shards/{SHARD}.jsonl")
    assert result.returncode == 1
    end = "\n".join(result.stderr.splitlines()[-12:])
    assert "failed: merge_shard results/shards/ar_news_daily_split_0001.jsonl" in end
    assert "| data error: a vendor file cannot be read: Compressed file ended before" in end
    assert "where: vendor/ar_news_daily/b.jsonl.gz" in end and "next:  fetch the file again" in end
    assert (project.folder / "results" / "shards" / f"{SHARD}.jsonl").exists(), "the others are made"


def test_a_killed_snakemake_leaves_a_lock_and_no_half_shard(project: Project, tmp_path: Path) -> None:
    wrapper = tmp_path / "bin" / "python"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/sh\necho half > results/shards/half\nexec sleep 600\n")
    wrapper.chmod(0o755)
    shard = f"results/shards/{SHARD}.jsonl"
    environment = os.environ | {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", shard]
    killed = subprocess.Popen(command, cwd=project.folder, env=environment, stderr=subprocess.DEVNULL, process_group=0)
    deadline = time.monotonic() + 60
    while not (project.folder / "results" / "shards" / "half").exists():
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    (project.folder / shard).write_text("half a shard\n")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    locked = project.snakemake(shard)
    assert locked.returncode == 1 and "Directory cannot be locked" in locked.stderr and "--unlock" in locked.stderr
    assert project.snakemake("--unlock").returncode == 0
    result = project.snakemake(shard)
    assert result.returncode == 0, result.stderr
    assert "half" not in (project.folder / shard).read_text()
