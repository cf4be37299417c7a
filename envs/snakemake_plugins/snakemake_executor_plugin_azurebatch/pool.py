"""The pool that a run asks for: what the original asks for, and what it gets wrong."""

import getpass
import os
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from azure.mgmt.batch.models import AutoScaleSettings, MetadataItem, NodeCommunicationMode, Pool, ScaleSettings
from snakemake_executor_plugin_azure_batch import ExecutorSettings, build

# The shortest that the service allows.
EVALUATION_INTERVAL = timedelta(minutes=5)
# How many nodes there shall be. A sample of the waiting and running tasks is taken every half minute, and is there a
# minute later: the first ten minutes go by the number of tasks to come. Where no sample is there, there is no node: a
# pool that nobody looks after must not cost. A fraction of a node may be rounded either way.
FORMULA = """\
slots = {slots};
startup = (time() - time("{created}")) < TimeInterval_Minute * 10;
tasks = startup ? {first_tasks} : max(0, $PendingTasks.GetSample(TimeInterval_Minute * 10));
$TargetDedicatedNodes = tasks > 0 ? min({most_nodes}, (tasks + slots - 1) / slots) : 0;
$NodeDeallocationOption = taskcompletion;
"""


def pool_parameters(pool_id: str, settings: ExecutorSettings, image: str, store: str, tasks: int) -> Pool:
    """Return the pool to ask for.

    Args:
        pool_id: its name.
        settings: the executor's; `pool_node_count` is the most nodes that there shall be.
        image: of the containers that tasks run in.
        store: where the run's results lie, and in which account; a later run of the same store knows the pool by it.
        tasks: how many the run is going to send, as far as it is known.
    """
    pool = build.batch_pool_params(pool_id, replace(settings, autoscale=False), image)
    formula = FORMULA.format(
        slots=settings.tasks_per_node,
        created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        first_tasks=min(tasks, settings.pool_node_count * settings.tasks_per_node),
        most_nodes=settings.pool_node_count,
    )
    pool.scale_settings = ScaleSettings(
        auto_scale=AutoScaleSettings(formula=formula, evaluation_interval=EVALUATION_INTERVAL)
    )
    started_by = f"{getpass.getuser()} on {socket.gethostname()}, process {os.getpid()}"
    pool.metadata = [MetadataItem(name="store", value=store), MetadataItem(name="started_by", value=started_by)]
    pool.target_node_communication_mode = settings.node_communication_mode or NodeCommunicationMode.SIMPLIFIED
    machine = pool.deployment_configuration.virtual_machine_configuration
    for registry in machine.container_configuration.container_registries or []:
        if registry.identity_reference is not None:
            registry.user_name = registry.password = None
    return pool
