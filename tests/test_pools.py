"""How many nodes a pool asks for."""

from datetime import UTC, datetime, timedelta

import pytest
from snakemake_executor_plugin_azure_batch import ExecutorSettings
from snakemake_executor_plugin_azurebatch.pool import pool_parameters

from azure_emulator.autoscale import nodes_asked


@pytest.mark.parametrize(
    ("minutes", "pending", "nodes"),
    [(0, 0, 2), (5, 100, 2), (30, 100, 6), (30, 12, 3), (30, 9, 3), (30, 8, 2), (30, 1, 1), (30, 0, 0)],
)
def test_nodes_go_by_the_tasks_that_wait_or_run(minutes: int, pending: int, nodes: int) -> None:
    """At most six, four tasks on each; at first for the seven that are known to come."""
    settings = ExecutorSettings(pool_node_count=6, tasks_per_node=4)
    formula = pool_parameters("pool", settings, "image", "az://results", tasks=7).scale_settings.auto_scale.formula
    assert nodes_asked(formula, datetime.now(UTC), timedelta(minutes=minutes), pending) == nodes
