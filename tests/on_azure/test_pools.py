"""How many nodes a pool asks for."""

from datetime import UTC, datetime, timedelta

import pytest
from snakemake_executor_plugin_azurebatch.pool import pool_parameters
from snakemake_executor_plugin_azurebatch.settings import ExecutorSettings
from snakemake_interface_common.exceptions import WorkflowError

from azure_emulator.autoscale import Asked, nodes_asked


@pytest.mark.parametrize(
    ("minutes", "pending", "nodes"),
    [(0, 0, 2), (5, 100, 2), (30, 100, 6), (30, 12, 3), (30, 9, 3), (30, 8, 2), (30, 1, 1), (30, 0, 0)],
)
def test_nodes_go_by_the_tasks_that_wait_or_run(minutes: int, pending: int, nodes: int) -> None:
    """At most six, four tasks on each; at first for the seven that are known to come."""
    settings = ExecutorSettings(pool_node_count=6, tasks_per_node=4)
    pool = pool_parameters("pool", settings, "image", "az://results", tasks=7)
    formula = pool.properties.scale_settings.auto_scale.formula
    asked = nodes_asked(formula, datetime.now(UTC), timedelta(minutes=minutes), {"$PendingTasks": pending})
    assert (asked.dedicated, asked.spot) == (nodes, 0)


@pytest.mark.parametrize(
    ("minutes", "pending", "before", "there", "preempted", "asked"),
    [
        (0, 0, 0, 0, 0, (0, 2)),  # at first for the seven tasks to come
        (30, 24, 2, 2, 0, (0, 6)),  # they are being started
        (35, 24, 6, 6, 0, (0, 6)),
        (40, 24, 6, 6, 2, (2, 6)),  # two were preempted
        (40, 24, 6, 1, 0, (3, 6)),  # five are not to be had; there may be three dedicated ones
        (40, 400, 6, 6, 0, (0, 6)),
        (40, 2, 6, 6, 4, (0, 1)),  # what is left needs one, and two are there
        (40, 0, 6, 6, 6, (0, 0)),
    ],
)
def test_dedicated_nodes_take_the_place_of_spot_nodes_that_are_not_there(
    minutes: int, pending: int, before: int, there: int, preempted: int, asked: tuple[int, int]
) -> None:
    settings = ExecutorSettings(pool_node_count=3, pool_spot_node_count=6, tasks_per_node=4)
    pool = pool_parameters("pool", settings, "image", "az://results", tasks=7)
    formula = pool.properties.scale_settings.auto_scale.formula
    metrics = {"$PendingTasks": pending, "$CurrentLowPriorityNodes": there, "$PreemptedNodeCount": preempted}
    found = nodes_asked(formula, datetime.now(UTC), timedelta(minutes=minutes), metrics, Asked(0, before))
    assert (found.dedicated, found.spot) == asked


def test_spot_nodes_beside_more_dedicated_ones() -> None:
    settings = ExecutorSettings(pool_node_count=5, pool_spot_node_count=2, tasks_per_node=1)
    pool = pool_parameters("pool", settings, "image", "az://results", tasks=9)
    formula = pool.properties.scale_settings.auto_scale.formula
    assert nodes_asked(formula, datetime.now(UTC), timedelta(), {}) == Asked(3, 2)


def test_a_way_to_fill_nodes_that_batch_does_not_know() -> None:
    settings = ExecutorSettings(node_fill_type="sideways")
    with pytest.raises(WorkflowError, match="'sideways' is none that Batch knows: set it to Spread or Pack"):
        pool_parameters("pool", settings, "image", "az://results", tasks=1)


def test_a_registry_without_an_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNAKEMAKE_AZURE_BATCH_MANAGED_IDENTITY_RESOURCE_ID", raising=False)
    settings = ExecutorSettings(container_registry_url="r.azurecr.io")
    with pytest.raises(WorkflowError, match="without an identity: set SNAKEMAKE_AZURE_BATCH_MANAGED_IDENTITY_RES"):
        pool_parameters("pool", settings, "image", "az://results", tasks=1)
