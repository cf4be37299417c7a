"""Record the jobs that a run was submitted as, in output/submissions.jsonl, so that none is submitted twice."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

FILE = "submissions.jsonl"


@dataclass(frozen=True)
class Submission:
    """A job: its launcher, its name there, where a person looks at it, and when it was submitted (UTC)."""

    launcher: str
    job: str
    url: str
    time: str = ""


def record(output: Path, submission: Submission) -> None:
    """Add a job to a run's list."""
    output.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with open(output / FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(submission) | {"time": now}) + "\n")


def newest(output: Path, launcher: str) -> Submission | None:
    """Return the job that was submitted last by a launcher, or None."""
    path = output / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [Submission(**json.loads(line)) for line in lines]
    return next((job for job in reversed(found) if job.launcher == launcher), None)
