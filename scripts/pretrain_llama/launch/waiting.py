"""Wait for a submitted training, through the jobs that continue it, until output/finished.json is there."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pretrain_llama.errors import OperatorError
from pretrain_llama.run import submissions
from pretrain_llama.run.folder import FINISHED, UNFINISHED
from pretrain_llama.run.history import EVENTS
from pretrain_llama.run.log_file import read_log
from pretrain_llama.run.submissions import Submission

# Between looks at a job: a tenth of what it has been waited for, so as to be no burden.
FIRST_SECONDS, LAST_SECONDS = 1.0, 60.0
REPEAT_SECONDS = 3600.0  # a state that does not change is printed again
FAILURES = 10  # looks in a row that may fail: after an hour of waiting, in ten minutes
SHARED_SECONDS = 60.0  # until a file written on another node must be seen; NFS may keep a listing that long


class Jobs(Protocol):
    """The jobs of a run on a launcher: slurm_jobs.Slurm, azureml_jobs.AzureML."""

    name: str

    def submit(self) -> Submission: ...

    def state(self, job: str) -> tuple[str, bool]: ...

    def fetch(self, job: str) -> None: ...


def submit_or_find(jobs: Jobs, output: Path, is_finished: Callable[[], bool]) -> Submission | None:
    """Submit a run, unless its last submitted job is still active; return the job.

    What a job wrote that was completed while nobody waited for it is fetched first; where that finished the training,
    none is submitted, and None returned.

    Raises:
        OperatorError: it cannot be submitted.
    """
    known = submissions.newest(output, jobs.name)
    state, goes_on = jobs.state(known.job) if known else ("", False)
    if known and goes_on:
        print(f"job {known.job} goes on, submitted {known.time}: {known.url}", flush=True)
        return known
    if known and _is_completed(state) and not _noted_since(output, known):
        jobs.fetch(known.job)
        if is_finished():
            return None
    return _submit(jobs, output)


def _submit(jobs: Jobs, output: Path) -> Submission:
    submission = jobs.submit()
    submissions.record(output, submission)
    print(f"submitted job {submission.job}: {submission.url}", flush=True)
    return submission


def follow(jobs: Jobs, submission: Submission, output: Path, restarts: int) -> None:
    """Wait until a training is finished; submit it again when its job ended in time before that.

    Args:
        jobs: where the job is.
        submission: of the job.
        output: of the run.
        restarts: how often it may be submitted again.

    Raises:
        OperatorError: the job ended, and the training will not be finished.
    """
    for left in range(restarts, -1, -1):
        state = _wait(jobs, submission.job)
        completed = _is_completed(state)
        if completed:
            jobs.fetch(submission.job)
        if _marker(output, SHARED_SECONDS if completed else 0) == FINISHED:
            return
        if not completed or not left or not (output / UNFINISHED).exists():
            break
        submission = _submit(jobs, output)
    raise OperatorError(
        f"job {submission.job} ended, {state}, and the training is not finished",
        where=submission.url,
        action="see what it said there; the same command submits it again, and it resumes from its newest checkpoint",
    )


def _noted_since(output: Path, submission: Submission) -> bool:
    """Return whether local events are newer than the submission, so that its output is already here."""
    return any(event["time"] >= submission.time for event in read_log(output, EVENTS))


def _is_completed(state: str) -> bool:
    return state.upper() == "COMPLETED"


def _marker(output: Path, seconds: float) -> str | None:
    """Return the file in which a training said how it ended, as soon as it is seen."""
    deadline = time.monotonic() + seconds
    while True:
        for name in (FINISHED, UNFINISHED):
            if (output / name).exists():
                return name
        if time.monotonic() >= deadline:
            return None
        time.sleep(FIRST_SECONDS)


def _wait(jobs: Jobs, job: str) -> str:
    """Return a job's final state."""
    began, shown, shown_at, failures = time.monotonic(), "", 0.0, 0
    while True:
        try:
            state, goes_on = jobs.state(job)
            failures = 0
        except OperatorError as error:
            failures += 1
            if failures == FAILURES:
                raise
            state, goes_on = f"cannot be looked at: {str(error).partition(chr(10))[0]}", True
        if state != shown or time.monotonic() - shown_at > REPEAT_SECONDS:
            print(f"{time.strftime('%F %T')} job {job}: {state}", flush=True)
            shown, shown_at = state, time.monotonic()
        if not goes_on:
            return state
        time.sleep(min(max(FIRST_SECONDS, (time.monotonic() - began) / 10), LAST_SECONDS))
