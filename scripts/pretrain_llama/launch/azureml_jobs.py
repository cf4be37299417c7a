"""Submit, watch and fetch jobs of Azure Machine Learning through its SDK.

The SDK is imported only here, and is not part of requirements.lock. The environment names the workspace; azure-identity
finds the credentials: `az login`, a managed identity, or a service principal's variables.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pretrain_llama.errors import OperatorError
from pretrain_llama.launch import secrets
from pretrain_llama.launch.azureml_job import COMPUTE
from pretrain_llama.run.submissions import Submission

VARIABLES = {
    "AZURE_SUBSCRIPTION_ID": "the subscription's id",
    "AZURE_RESOURCE_GROUP": "the name of the workspace's resource group",
    "AZUREML_WORKSPACE_NAME": "the workspace's name",
}
ENDED = {"Completed", "Failed", "Canceled", "NotResponding"}


class AzureML:
    """The jobs of a run folder in a workspace."""

    name = "azureml"

    def __init__(self, folder: Path) -> None:
        """Connect to the workspace that the environment names.

        Raises:
            OperatorError: a variable is not set, or the SDK is not installed.
        """
        self._folder = folder
        missing = [f"{name}, {what}" for name, what in VARIABLES.items() if not os.environ.get(name)]
        if missing:
            raise OperatorError(
                "not set: " + "; ".join(missing), where="the environment", action="set them as docs/azureml.md says"
            )
        logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # it warns of its own experimental classes
        try:
            from azure.ai.ml import MLClient, load_job
            from azure.identity import DefaultAzureCredential
        except ImportError as error:
            raise OperatorError(
                f"the SDK is not installed: {error}",
                where="the Python environment",
                action="make azureml, or pip install --requirement envs/requirements-azureml.txt",
            ) from None
        self._load_job = load_job
        with readable("the workspace"):
            self._client = MLClient(DefaultAzureCredential(), *(os.environ[name] for name in VARIABLES))

    def submit(self) -> Submission:
        """Submit job.yaml, with AZUREML_COMPUTE where it names no compute.

        Raises:
            OperatorError: AzureML refuses it, or cannot be reached.
        """
        with readable(self._folder / "job.yaml"):
            job = self._load_job(self._folder / "job.yaml")
            if job.compute in (None, COMPUTE):  # load_job takes "azureml:" off
                job.compute = os.environ[COMPUTE]
            submitted = self._client.jobs.create_or_update(job)
        return Submission(self.name, submitted.name, submitted.studio_url)

    def state(self, job: str) -> tuple[str, bool]:
        """Return a job's state, as AzureML names it, and whether the job is still active.

        Raises:
            OperatorError: AzureML cannot be reached, or does not know the job.
        """
        with readable(job):
            state = self._client.jobs.get(job).status
        return state, state not in ENDED

    def fetch(self, job: str) -> None:
        """Bring what the job wrote to the run folder's output, where it replaces what is there.

        Raises:
            OperatorError: it cannot be downloaded.
        """
        output = self._folder / "output"
        with tempfile.TemporaryDirectory(prefix=".azureml-", dir=self._folder) as beside:
            with readable(job):
                self._client.jobs.download(job, download_path=beside, output_name="output")
            for path in sorted(Path(beside, "named-outputs", "output").iterdir()):
                target = output / path.name
                shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
                path.rename(target)


@contextmanager
def readable(where: Any) -> Iterator[None]:
    """Turn the SDK's exceptions into errors of ours, without anything that looks like a secret."""
    try:
        yield
    except OperatorError:
        raise
    except Exception as error:  # the SDK has no common class
        said = " ".join(secrets.redact(str(error)).split())[:500]
        raise OperatorError(
            f"{type(error).__name__}: {said}",
            where=where,
            action="`az login`; see whether the workspace, the compute and your role there are right (docs/azureml.md)",
        ) from None
