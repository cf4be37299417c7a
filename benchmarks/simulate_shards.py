"""Run the workflow on thousands of simulated shards: how long Snakemake takes, and where the time goes.

    python benchmarks/simulate_shards.py --scratch resources/bench/simulated --shards 10000 --run-shards 1000

The Snakefile, the rules and the configuration are the shipped ones, the vendor files sparse, and recorders stand in for
the programs that touch text or weights (recorder.py). The peer is bare.smk, with the same rules and files for shards,
in the same folder. CPU seconds are compared: a dry-run computes in one thread, and they do not depend on what else the
machine does. Peak memory is Snakemake's.
"""

import argparse
import os
import pstats
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import recorder
from simulated_project import ROOT, SimulatedProject

SHARD_RULES = ("merge_shard", "tokenize_shard", "name_indexed")
GOAL_SECONDS, GOAL_RATIO = 60, 1.2
# Functions of ours and of Snakemake 9.27 that time is given to, by file and name, each with all that it calls.
PARTS = {
    "the shards are planned": ("pretrain_llama/project.py", "_plan"),
    "Snakemake builds the graph": ("snakemake/workflow.py", "_build_dag"),
    "    of it, to call the rules' functions": ("snakemake/rules.py", "apply_input_function"),
    "Snakemake prints the jobs": ("executors/dryrun.py", "printjob"),
}


@dataclass
class Measured:
    """What a command took; jobs: how many of each rule it announced, by rule."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    jobs: dict[str, int]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for the simulated projects, removed")
    parser.add_argument("--shards", type=int, default=10_000, help="shards of the dry-runs")
    parser.add_argument("--run-shards", type=int, default=1_000, help="shards of the full run, with all their jobs")
    return parser.parse_args()


def snakemake(folder: Path, *args: object, python: tuple[object, ...] = ()) -> Measured:
    """Run snakemake in a folder, as a user does; python: options of the interpreter."""
    output = folder / "output.txt"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "scripts")}
    command = list(map(str, [sys.executable, *python, "-m", "snakemake", *args]))
    start = time.perf_counter()
    with open(output, "w") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"failed: {' '.join(command)}\n{output.read_text()[-3000:]}")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, announced(output.read_text()))


def announced(output: str) -> dict[str, int]:
    """Return the jobs by rule of the first table in what snakemake printed."""
    lines = iter(output.splitlines())
    jobs: dict[str, int] = {}
    for line in lines:
        if line.split()[:2] in (["rule", "jobs"], ["job", "count"]):  # of this project's screen, of Snakemake's own
            while (words := next(lines).split()) and words[0] != "total":
                if words[1].isdigit():
                    jobs[words[0]] = int(words[1])
            break
    return jobs


def row(what: str, ours: Measured, peer: Measured | None = None) -> None:
    """Print a line of the table: a dry-run of ours beside the peer's."""
    jobs = sum(ours.jobs.values())
    figures = [f"{jobs:,}", f"{ours.seconds:.0f} s", f"{ours.cpu_seconds:.0f} s", f"{ours.peak_mb:.0f} MB"]
    theirs = (
        [f"{peer.cpu_seconds:.0f} s, {peer.peak_mb:.0f} MB", f"{ours.cpu_seconds / peer.cpu_seconds:.2f}"]
        if peer
        else ["", ""]
    )
    print("| " + " | ".join([what, *figures, *theirs]) + " |", flush=True)


def dry_runs(what: str, project: SimulatedProject, shards: int) -> Measured:
    """Dry-run ours and the peer, in turn; check that both announce so many new shards, and print a line."""
    project.list_for_bare()
    ours, peer = snakemake(project.folder, "--dry-run"), snakemake(project.bare, "--dry-run")
    for measured in (ours, peer):
        for rule in ("merge_shard", "tokenize_shard"):
            assert measured.jobs.get(rule, 0) == shards, (what, measured.jobs)
    row(what, ours, peer)
    return ours


def build(project: SimulatedProject) -> None:
    """Build everything: the shards' files in this process, the rest by snakemake."""
    project.record_plans()
    project.merge_and_tokenize()
    snakemake(project.folder, f"results/tokenized/{project.tokenizer}/conservation.json")
    project.name_indexed()
    snakemake(project.folder)
    (project.folder / "results" / "bare.json").touch()


def full_run(folder: Path, shards: int) -> None:
    """Run everything through snakemake, print a line, and check the recorded command lines."""
    project = SimulatedProject(folder, shards)
    measured = snakemake(project.folder)
    measured.jobs["name_indexed"] = shards  # announced after the checkpoint
    row(f"a full run of {shards:,} shards", measured)
    programs = [line.split("\t")[0] for line in (folder / recorder.COMMANDS).read_text().splitlines()]
    assert all(programs.count(rule) == shards for rule in SHARD_RULES), "a shard was made twice, or not at all"
    row("    a dry-run after it, with Snakemake's records", snakemake(project.folder, "--dry-run"))


def print_profile(project: SimulatedProject) -> None:
    """Print where a dry-run's time goes, as shares of it; the profiler makes all of it slower."""
    file = project.folder / "profile"
    snakemake(project.folder, "--dry-run", python=("-m", "cProfile", "-o", file.name))
    profile = pstats.Stats(str(file))
    print("\n| where the time of the first dry-run goes | share |\n|---|---|")
    for what, place in PARTS.items():
        print(f"| {what} | {inclusive_seconds(profile, *place) / profile.total_tt:.1%} |")
    print(f"| the rules' own functions, called for each job | {look_up_seconds(profile) / profile.total_tt:.1%} |")


def inclusive_seconds(profile: pstats.Stats, file: str, function: str) -> float:
    """Return the seconds of a function with all that it calls."""
    found = [times[3] for place, times in profile.stats.items() if place[0].endswith(file) and place[2] == function]
    assert found, f"{function} of {file} was not called: this Snakemake calls it otherwise"
    return max(found)


def look_up_seconds(profile: pstats.Stats) -> float:
    """Return the seconds of the functions in the rule files that Snakemake calls, with all that they call."""
    calls = [
        (caller, times[3])
        for place, (*_, callers) in profile.stats.items()
        if place[0].endswith(".smk") and place[2] != "<module>"
        for caller, times in callers.items()
    ]
    return sum(seconds for caller, seconds in calls if not caller[0].endswith((".smk", "Snakefile")))


def main() -> None:
    args = parse_args()
    project = SimulatedProject(args.scratch / "dry_runs", args.shards)
    print("| what | jobs | time | CPU time | peak memory | bare Snakefile: CPU time, memory | ratio of CPU times |")
    print("|---|---|---|---|---|---|---|")
    first = dry_runs(f"a dry-run of {args.shards:,} shards", project, args.shards)
    build(project)
    built = dry_runs("a dry-run with everything built", project, 0)
    assert not built.jobs, built.jobs
    project.deliver(project.corpora[0], "added.jsonl")
    dry_runs("a dry-run with one vendor file added", project, 1)
    full_run(args.scratch / "full_run", args.run_shards)
    print_profile(SimulatedProject(args.scratch / "profiled", args.shards))
    print(f"\ngoals: {first.seconds:.0f} s of {GOAL_SECONDS} s; ratio at most {GOAL_RATIO}")
    shutil.rmtree(args.scratch)


if __name__ == "__main__":
    main()
