"""Describe a Snakemake job as an Azure Batch task."""

import uuid
from collections.abc import Mapping
from datetime import timedelta

from azure.batch import models
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

# azure-identity takes a node's identity by it, where nodes have several: the pool's, and those that policies add.
CLIENT_ID = "AZURE_CLIENT_ID"


def task_options(
    job: JobExecutorInterface, image: str, variables: Mapping[str, str], client_id: str | None, command: str
) -> models.BatchTaskCreateOptions:
    """Return the task to add.

    Args:
        job: what it does; its resource `runtime` is the most minutes that it may take.
        image: of the container that it runs in.
        variables: of its environment. Everybody who may read the Batch account reads them.
        client_id: of the nodes' identity, which the task uses.
        command: run by bash.
    """
    settings = dict(variables) | ({CLIENT_ID: client_id} if client_id else {})
    minutes = job.resources.get("runtime")
    administrator = models.AutoUserSpecification(
        elevation_level=models.ElevationLevel.ADMIN, scope=models.AutoUserScope.POOL
    )
    return models.BatchTaskCreateOptions(
        id=f"{job.name}-{uuid.uuid4()}",
        display_name=job.name,
        command_line=command,
        constraints=models.BatchTaskConstraints(max_wall_clock_time=timedelta(minutes=minutes)) if minutes else None,
        container_settings=models.BatchTaskContainerSettings(image_name=image, container_run_options="--rm"),
        environment_settings=[models.EnvironmentSetting(name=name, value=value) for name, value in settings.items()],
        user_identity=models.UserIdentity(auto_user=administrator),
    )
