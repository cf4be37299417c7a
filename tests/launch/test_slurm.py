"""The Slurm profile, through a real Slurm: what runs there, what a change submits, what becomes of jobs that die."""

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

import slurm
from processes import wait_for
from project import ROOT, Project, Result, jsonl

pytestmark = pytest.mark.skipif(not slurm.installed(), reason="slurmctld, slurmd or munged is missing: make test-slurm")

PROFILES = {name: yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text()) for name in ("default", "slurm")}
# The queue is looked at from 1 second on; as shipped, from 40 on.
SLURM = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1")
SHARDS = ("ar_news_daily_split_0000", *(f"en_books_tales_split_000{number}" for number in range(3)))
WAIT_SECONDS = 600  # for what hangs


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with slurm.running_slurm():
        yield


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, tokenizer_model: Path, llama: Path) -> Project:
    """A project taken to its mixture without Slurm."""
    project = Project(tmp_path_factory.mktemp("local"), tokenizer_model, llama)
    succeed(project.snakemake("mixture"))
    return project


@pytest.fixture(scope="module")
def built(local: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same project, taken there through Slurm."""
    project = unbuilt(local, tmp_path_factory.mktemp("slurm") / "project")
    succeed(project.snakemake(*SLURM, "mixture"))
    return project


def unbuilt(project: Project, folder: Path) -> Project:
    copied = project.copied_to(folder)
    shutil.rmtree(folder / "results")
    shutil.rmtree(folder / ".snakemake")
    return copied


def succeed(result: Result) -> None:
    assert result.returncode == 0, result.stdout + result.stderr


def made(project: Project) -> dict[str, bytes]:
    """Every file in results/ but logs and timings, which two others hold, too."""
    results = project.folder / "results"
    files = {path.relative_to(results): path for path in results.rglob("*") if path.is_file()}
    timed = {"logs", "benchmarks", "check_mixture.json", "parity.json"}
    return {str(name): path.read_bytes() for name, path in files.items() if not timed & {*name.parts}}


def submitted(project: Project) -> dict[str, int]:
    """The jobs that went through Slurm, by rule."""
    return Counter(job.rule for job in slurm.jobs(project.folder))


def tokenize_jobs(project: Project, shard: str) -> list[slurm.Job]:
    return [job for job in slurm.jobs(project.folder) if job.rule == "tokenize_shard" and job.wildcards.endswith(shard)]


def running_job(project: Project, shard: str) -> int | None:
    return next((job.id for job in tokenize_jobs(project, shard) if job.state == "RUNNING"), None)


def running_program(project: Project, shard: str) -> int | None:
    """The process id of tokenize_shard.py at work on a shard."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_text().split("\0")
            if arguments[1:2] == ["scripts/tokenize_shard.py"] and shard in arguments:
                return int(process.name) if (process / "cwd").readlink() == project.folder else None
        except OSError:  # it has ended
            continue
    return None


def test_what_both_profiles_set_is_alike() -> None:
    default, ours = PROFILES["default"], PROFILES["slurm"]
    assert default.items() <= ours.items(), "the default profile is loaded beside the other, and has the last word"


def test_the_page_on_slurm_names_every_rule() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    page = (ROOT / "docs" / "slurm.md").read_text()
    names = re.findall(r"^(?:rule|checkpoint) (\w+):", rules, re.M)
    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in page and name not in ("all", "data", "mixture")] == []


def test_a_run_through_slurm_makes_the_same_bytes(local: Project, built: Project) -> None:
    by_slurm = made(built)
    pairs = 3  # what is trained on, the same under its counted name, and what is held out
    assert sum(name.endswith((".bin", ".idx")) for name in by_slurm) == pairs * 2 * len(SHARDS)
    assert any(name.endswith("mixture/probabilities.json") for name in by_slurm)
    assert by_slurm == made(local)

    assert submitted(local) == {}
    once = dict.fromkeys(("certify_tokenizer", "find_duplicates", "check_mixture"), 1)
    assert submitted(built) == {"merge_shard": 4, "tokenize_shard": 4} | once
    assert {job.state for job in slurm.jobs(built.folder)} == {"COMPLETED"}


def test_slurm_is_asked_for_what_the_profile_says(built: Project) -> None:
    ours = PROFILES["slurm"]["set-resources"]["tokenize_shard"]
    assert ours["cpus_per_task"] > len(os.sched_getaffinity(0)), "Snakemake cuts threads to what this machine has"
    (job,) = tokenize_jobs(built, SHARDS[0])
    assert (job.cpus, job.memory) == (ours["cpus_per_task"], f"{ours['mem_mb']}M")
    assert job.time_limit == f"{ours['runtime'] // 60}:{ours['runtime'] % 60:02}:00"
    assert not job.requeue


def test_nothing_new_submits_nothing(built: Project) -> None:
    before = slurm.jobs(built.folder)
    result = built.snakemake(*SLURM, "mixture")
    succeed(result)
    assert "Nothing to be done" in result.stdout + result.stderr
    assert slurm.jobs(built.folder) == before


def test_a_new_vendor_file_submits_its_own_jobs(built: Project, tmp_path: Path) -> None:
    project = built.copied_to(tmp_path / "copy")
    project.vendor("en_books_tales/b.jsonl", jsonl(["A new tale, of one ship."]))
    own = {"merge_shard": 1, "tokenize_shard": 1, "find_duplicates": 1, "check_mixture": 1}
    here = {"sign_data": 1, "check_conservation": 1, "compute_probabilities": 1, "plot_mixture": 1, "plot_documents": 1}
    assert project.pending(*SLURM, "mixture") == own | here

    succeed(project.snakemake(*SLURM, "mixture"))
    assert submitted(project) == own
    assert project.pending(*SLURM, "mixture") == {}


def test_a_cancelled_and_a_killed_job_cost_a_retry_each(local: Project, tmp_path: Path) -> None:
    project = unbuilt(local, tmp_path / "project")
    cancelled, killed, *spared = SHARDS
    with ThreadPoolExecutor() as beside:
        running = beside.submit(project.snakemake, *SLURM, "mixture")
        subprocess.run(["scancel", str(wait_for(lambda: running_job(project, cancelled), WAIT_SECONDS))], check=True)
        os.kill(wait_for(lambda: running_program(project, killed), WAIT_SECONDS), signal.SIGKILL)
        succeed(running.result())

    states = {shard: [job.state for job in tokenize_jobs(project, shard)] for shard in SHARDS}
    assert states == {
        cancelled: ["CANCELLED", "COMPLETED"],
        killed: ["FAILED", "COMPLETED"],
        **{shard: ["COMPLETED"] for shard in spared},
    }
    assert made(project) == made(local)


def test_a_job_that_always_fails_ends_the_run_with_its_log(built: Project, tmp_path: Path) -> None:
    project = built.copied_to(tmp_path / "copy")
    project.vendor("en_books_tales/b.jsonl", b"no json\n" * 50)
    result = project.snakemake(*SLURM, "--retries", "0", "mixture")
    said = result.stdout + result.stderr
    assert result.returncode != 0
    assert "so far 4 of 50 lines of en_books_tales_split_0003 are rejected" in said
    assert said.count("\n  failed: tokenize_shard") == 1, "once, at the end"
    failed = tokenize_jobs(project, "en_books_tales_split_0003")
    assert [job.state for job in failed] == ["FAILED"]
    logs = re.findall(r"  its log: (\S*/slurm_logs/rule_tokenize_shard/\S*/(\d+)\.log)\n", said)
    assert [int(number) for _, number in logs] == [job.id for job in failed]
    assert all("rule tokenize_shard" in Path(log).read_text() for log, _ in logs)
