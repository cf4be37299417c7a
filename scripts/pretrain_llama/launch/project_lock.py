"""Keep of a project, while a training goes on here, only what is the training's, so that new deliveries can be made.

Snakemake locks all files that a run of it reads or makes, for as long as the run takes. When nothing is left to be made
but a training and what follows from it, these files suffice: those that are still to be made, and what is read in
results/runs/. So `snakemake data` works meanwhile, and what would write the run's folder is refused as before.
"""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

TRAINING = ("launch_training", "submit_training")
FOLLOWING = ("export_checkpoint", "sample_text", "summarize_run", "plot_training")
RUNS = "results/runs/"


def share(persistence: Any) -> None:
    """Have Snakemake's bookkeeping narrow its lock when a training begins, and unlock no more than it locked.

    Args:
        persistence: of the workflow; it holds the lock.
    """
    if not hasattr(persistence, "_lockfile"):  # it keeps its locks otherwise than in files
        return
    started: Callable[..., None] = persistence.started

    def begun(job: Any, external_jobid: str | None = None) -> None:
        started(job, external_jobid)
        if job.rule.name in TRAINING:
            narrow(persistence)

    persistence.started = begun
    persistence._delete_locks = lambda: _delete(persistence, persistence._lockfile.values())


def narrow(persistence: Any) -> bool:
    """Lock only what is the trainings', unless something else is left to be made; say whether it was done.

    Args:
        persistence: of the workflow.
    """
    left = [job for job in persistence.dag.needrun_jobs() if job.output]  # targets make nothing
    if any(job.rule.name not in (*TRAINING, *FOLLOWING) for job in left):
        return False
    before = list(persistence._lockfile.values())
    read = {str(path) for job in persistence.dag.jobs for path in job.input if str(path).startswith(RUNS)}
    persistence._write_locks("input", sorted(read))
    persistence._write_locks("output", _paths(job.output for job in left))
    _delete(persistence, [path for path in before if path not in persistence._lockfile.values()])
    return True


def _paths(files: Iterable[Collection[object]]) -> list[str]:
    return sorted({str(path) for several in files for path in several})


def _delete(persistence: Any, paths: Iterable[str]) -> None:
    """Delete lock files of ours; Snakemake would delete those of others with their folder."""
    for path in list(paths):
        Path(path).unlink(missing_ok=True)
    for kind, path in list(persistence._lockfile.items()):
        if not Path(path).exists():
            del persistence._lockfile[kind]
