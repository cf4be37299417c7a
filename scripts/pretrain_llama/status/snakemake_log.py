"""Read Snakemake's log of its newest run: which jobs run, and which failed."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

STARTED = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$")
FAILED = re.compile(r"^Error in (?:rule|checkpoint) (\w+)")
FINISHED = re.compile(r"^Finished jobid: (\d+)")
FIELD = re.compile(r"^ {4}(jobid|log|output): (.+)$")
ERROR = re.compile(r"^\w+ error: ")  # as errors.py begins a message
SHOWN_LINES = 5
SHOWN_OF_ERROR = 10


@dataclass
class Job:
    """A job of the log: its rule, number, log file and first output, the last two empty where it has none."""

    rule: str
    jobid: str = ""
    log: str = ""
    output: str = ""

    def last_lines(self, folder: Path) -> list[str]:
        """Return its error, or else the last lines of its log file."""
        path = folder / self.log
        if not self.log or not path.exists():
            return []
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [number for number, line in enumerate(lines) if ERROR.match(line)]
        return lines[errors[-1] :][:SHOWN_OF_ERROR] if errors else lines[-SHOWN_LINES:]


@dataclass
class NewestRun:
    """The contents of Snakemake's newest log.

    Attributes:
        log: its path.
        is_running: a Snakemake works in that folder now.
        in_progress: jobs that were started, and neither ended nor failed; they run, or were killed.
        failed: jobs that failed.
    """

    log: Path
    is_running: bool
    in_progress: list[Job]
    failed: list[Job]


def newest_run(folder: Path) -> NewestRun | None:
    """Return the newest run that executed anything in a folder; None if there is none."""
    for path in sorted((folder / ".snakemake" / "log").glob("*.snakemake.log"), reverse=True):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if any(STARTED.match(line) for line in lines):
            return _read(path, lines, _is_running(folder))
    return None


def failures(run: NewestRun, folder: Path, shown: int) -> list[str]:
    """Return lines that show the first failed jobs of a run with their errors, and the number of the others."""
    lines = []
    for job in run.failed[:shown]:
        lines.append(f"  failed: {job.rule} {job.output}; its log {job.log or 'is none'}")
        lines += [f"    | {line}" for line in job.last_lines(folder)]
    if len(run.failed) > shown:
        lines.append(f"  and {len(run.failed) - shown:,} more failed")
    return lines


def _read(path: Path, lines: list[str], is_running: bool) -> NewestRun:
    started: dict[str, Job] = {}
    failed: dict[str, Job] = {}
    job, jobs = Job(""), started
    for line in lines:
        if match := STARTED.match(line):
            job, jobs = Job(match[1]), started
        elif match := FAILED.match(line):
            job, jobs = Job(match[1]), failed
        elif match := FIELD.match(line):
            setattr(job, match[1], match[2].split(",")[0].removesuffix(" (check log file(s) for error details)"))
            if match[1] == "jobid":
                jobs[job.jobid] = job
        elif match := FINISHED.match(line):  # at a second try, maybe
            started.pop(match[1], None)
            failed.pop(match[1], None)
    in_progress = [job for jobid, job in started.items() if jobid not in failed]
    once = {(job.rule, job.output): job for job in failed.values()}  # on Slurm, a job's own Snakemake tells it, too
    return NewestRun(path, is_running, in_progress, list(once.values()))


def _is_running(folder: Path) -> bool:
    """Say whether a Snakemake of this machine works in a folder; other machines' are not seen."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            works_here = (process / "cwd").readlink() == folder.resolve()
        except OSError:  # it ended, or is another user's
            continue
        if works_here and any(Path(os.fsdecode(word)).name == "snakemake" for word in words[:3]):
            return True
    return False
