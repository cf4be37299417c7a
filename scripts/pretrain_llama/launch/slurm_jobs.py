"""Submit and watch jobs of Slurm through its commands."""

import os
import subprocess
import sys
from pathlib import Path

from pretrain_llama.errors import OperatorError
from pretrain_llama.launch.slurm_script import LOG
from pretrain_llama.run.submissions import Submission

# Of squeue: what is not here goes on, also while it is signalled, stopped or resized. Slurm forgets a job MinJobAge
# seconds after its end.
ENDED = {"", "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED", "REVOKED"}
ENDED |= {"NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY"}
FORGOTTEN = "not known to Slurm any more"


class Slurm:
    """The jobs of a run folder, with the environment of this process, whose Python they run."""

    name = "slurm"

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def submit(self) -> Submission:
        """Submit the run.

        Raises:
            OperatorError: Slurm is not here, or refuses it.
        """
        said = self._run("sbatch", "--parsable", f"--chdir={self._folder}", str(self._folder / "launch.sbatch"))
        job = said.strip().partition(";")[0]  # after it, the cluster
        return Submission(self.name, job, str(self._folder / LOG.replace("%j", job)))

    def state(self, job: str) -> tuple[str, bool]:
        """Return a job's state, as Slurm names it, and whether the job is still active.

        Raises:
            OperatorError: Slurm does not answer.
        """
        try:
            state = self._run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()
        except OperatorError as error:
            if "Invalid job id" not in str(error):
                raise
            state = ""
        return state or FORGOTTEN, state not in ENDED

    def fetch(self, job: str) -> None:
        """Do nothing: what the job wrote is already here, on the file system that all nodes share."""

    def _run(self, *command: str) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        try:
            result = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True)
        except FileNotFoundError:
            raise OperatorError(
                f"{command[0]} is not here", where="PATH", action="submit from a login node of the cluster"
            ) from None
        if result.returncode:
            raise OperatorError(
                f"{command[0]}: {result.stderr.strip() or f'exit code {result.returncode}'}",
                where=self._folder / "launch.sbatch",
                action="correct `launch` in run.yaml, or ask the cluster's administrators",
            )
        return result.stdout
