"""Check that no submitted job of a run is active: by its history, else by its launcher."""

from collections.abc import Callable
from pathlib import Path

from pretrain_llama.errors import OperatorError
from pretrain_llama.launch.azureml_jobs import AzureML
from pretrain_llama.launch.slurm_jobs import Slurm
from pretrain_llama.launch.waiting import Jobs
from pretrain_llama.run import submissions
from pretrain_llama.run.history import History
from pretrain_llama.run.submissions import Submission

JOBS: dict[str, Callable[[Path], Jobs]] = {"slurm": Slurm, "azureml": AzureML}


def check_ended(folder: Path) -> None:
    """Check that no job of a run is active, among the last ones of each launcher.

    A training that noted its end after a job was submitted needs no launcher, and no login. Any other end does: a job
    that was told to save and stop may be in the queue again.

    Raises:
        OperatorError: one goes on, or its launcher cannot be asked.
    """
    output = folder / "output"
    finished = [event["time"] for event in History(output).events("finished")]
    for launcher in JOBS:
        job = submissions.newest(output, launcher)
        if job and not any(time >= job.time for time in finished):
            _check_ended(job, folder)


def _check_ended(job: Submission, folder: Path) -> None:
    try:
        state, goes_on = JOBS[job.launcher](folder).state(job.job)
    except OperatorError as error:
        problem = str(error).partition("\n")[0]
        raise OperatorError(
            f"nobody here knows whether job {job.job}, submitted {job.time}, has ended: {problem}",
            where=folder / "output" / submissions.FILE,
            action="type the same command where jobs are submitted from; or, if it has ended, remove its line there",
        ) from None
    if goes_on:
        raise OperatorError(
            f"job {job.job} of this run goes on, {state}: its run folder cannot be written again under it",
            where=job.url,
            action="wait for it: python scripts/submit_training.py with this run folder; or cancel it there",
        )
