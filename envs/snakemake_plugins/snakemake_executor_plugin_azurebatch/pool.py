"""Define the Azure Batch pool of a run: its machines, image, and autoscale formula."""

import getpass
import os
import socket
from datetime import UTC, datetime, timedelta

from azure.mgmt.batch import models
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azurebatch.settings import VARIABLES, ExecutorSettings

# The shortest that the service allows.
EVALUATION_INTERVAL = timedelta(minutes=5)
# How many nodes there should be. A sample of the waiting and running tasks is taken every half minute, and is there a
# minute later: the first ten minutes go by the number of tasks to come. Where no sample is there, there is no node: a
# pool that nobody looks after must not cost. A fraction of a node may be rounded either way. As many as may be are spot
# nodes ("low priority" is Batch's name for them); dedicated ones replace those that the last evaluation asked for,
# and that are not there, or were preempted.
FORMULA = """\
slots = {slots};
startup = (time() - time("{created}")) < TimeInterval_Minute * 10;
tasks = startup ? {first_tasks} : max(0, $PendingTasks.GetSample(TimeInterval_Minute * 10));
nodes = tasks > 0 ? min({most_nodes}, (tasks + slots - 1) / slots) : 0;
spot = min({most_spot}, nodes);
there = max(0, $CurrentLowPriorityNodes.GetSample(TimeInterval_Minute * 5));
preempted = max(0, $PreemptedNodeCount.GetSample(TimeInterval_Minute * 5));
missing = startup ? 0 : max(0, min(spot, $TargetLowPriorityNodes) - there + preempted);
$TargetLowPriorityNodes = spot;
$TargetDedicatedNodes = min({most_dedicated}, nodes - spot + missing);
$NodeDeallocationOption = taskcompletion;
"""


def pool_parameters(pool_id: str, settings: ExecutorSettings, image: str, store: str, tasks: int) -> models.Pool:
    """Return the pool to ask for.

    Args:
        pool_id: its name.
        settings: the executor's. There are no more nodes than the larger of `pool_node_count` and
            `pool_spot_node_count`; spot nodes as far as they may be had, dedicated ones for the rest.
        image: of the containers that tasks run in.
        store: where the run's results lie, and in which account; a later run of the same store knows the pool by it.
        tasks: how many the run is going to send, as far as it is known.

    Raises:
        WorkflowError: a setting is none that the service knows.
    """
    started_by = f"{getpass.getuser()} on {socket.gethostname()}, process {os.getpid()}"
    properties = models.PoolProperties(
        display_name=pool_id,
        vm_size=settings.pool_vm_size,
        deployment_configuration=models.DeploymentConfiguration(
            virtual_machine_configuration=models.VirtualMachineConfiguration(
                image_reference=models.ImageReference(
                    publisher=settings.pool_image_publisher,
                    offer=settings.pool_image_offer,
                    sku=settings.pool_image_sku,
                    version="latest",
                ),
                node_agent_sku_id=settings.pool_vm_node_agent_sku_id,
                container_configuration=models.ContainerConfiguration(
                    type=models.ContainerType.DOCKER_COMPATIBLE,
                    container_image_names=[image],
                    container_registries=_registries(settings),
                ),
            )
        ),
        scale_settings=models.ScaleSettings(
            auto_scale=models.AutoScaleSettings(
                formula=_formula(settings, tasks), evaluation_interval=EVALUATION_INTERVAL
            )
        ),
        network_configuration=_network(settings),
        task_slots_per_node=settings.tasks_per_node,
        task_scheduling_policy=models.TaskSchedulingPolicy(node_fill_type=_fill_type(settings)),
        metadata=[
            models.MetadataItem(name="store", value=store),
            models.MetadataItem(name="started_by", value=started_by),
        ],
    )
    return models.Pool(identity=_identity(settings), properties=properties)


def _formula(settings: ExecutorSettings, tasks: int) -> str:
    dedicated, spot = settings.pool_node_count, settings.pool_spot_node_count
    most = max(dedicated, spot)
    return FORMULA.format(
        slots=settings.tasks_per_node,
        created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        first_tasks=min(tasks, most * settings.tasks_per_node),
        most_nodes=most,
        most_spot=spot,
        most_dedicated=dedicated,
    )


def _identity(settings: ExecutorSettings) -> models.BatchPoolIdentity | None:
    if settings.managed_identity_resource_id is None:
        return None
    return models.BatchPoolIdentity(
        type=models.PoolIdentityType.USER_ASSIGNED,
        user_assigned_identities={settings.managed_identity_resource_id: models.UserAssignedIdentities()},
    )


def _registries(settings: ExecutorSettings) -> list[models.ContainerRegistry] | None:
    """Where nodes log in, as their identity: what has no login of its own is public."""
    if settings.container_registry_url is None:
        return None
    if settings.managed_identity_resource_id is None:
        raise WorkflowError(
            f"nodes cannot log in to {settings.container_registry_url} without an identity: set "
            f"{VARIABLES}MANAGED_IDENTITY_RESOURCE_ID"
        )
    identity = models.ComputeNodeIdentityReference(resource_id=settings.managed_identity_resource_id)
    return [models.ContainerRegistry(registry_server=settings.container_registry_url, identity_reference=identity)]


def _network(settings: ExecutorSettings) -> models.NetworkConfiguration | None:
    return models.NetworkConfiguration(subnet_id=settings.pool_subnet_id) if settings.pool_subnet_id else None


def _fill_type(settings: ExecutorSettings) -> models.ComputeNodeFillType:
    try:
        return models.ComputeNodeFillType(settings.node_fill_type.capitalize())
    except ValueError:
        known = " or ".join(kind.value for kind in models.ComputeNodeFillType)
        raise WorkflowError(
            f"azurebatch-node-fill-type {settings.node_fill_type!r} is none that Batch knows: set it to {known}"
        ) from None
