"""Sum the node hours that tasks took on Azure Batch, from the file with a line for each task.

A task's share of its node is its time over the tasks that a node runs at once. A node is up at least from the start of
its first task to the end of its last; where none ran for longer than a pool keeps an idle node, it was another one.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain_llama.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame

# A pool looks every five minutes for ten minutes without a task (envs/snakemake_plugins, pool.py).
IDLE_AT_MOST = timedelta(minutes=15)
NEEDED = {"rule", "vm_size", "node", "kind", "tasks_per_node", "started", "ended"}


def read(path: Path) -> "DataFrame":
    """Return the tasks of a file.

    Columns: rule, vm_size, node, kind, started, ended (UTC), and hours, the task's share of its node.

    Raises:
        DataError: there is no such file, or it is none of the executor's.
    """
    import pandas as pd

    action = "name the file of the profile's azurebatch-task-log; each run on Batch appends to it"
    if not path.is_file():
        raise DataError("no such file of tasks", where=path, action=action)
    try:
        tasks = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        if not isinstance(tasks.index, pd.RangeIndex):  # pandas takes what is too many for an index
            raise ValueError("it has more values than columns")
        if missing := NEEDED - set(tasks):
            raise DataError(f"it has no column {sorted(missing)[0]!r}", where=path, action=action)
        tasks = tasks[tasks["ended"] != ""].replace({"kind": {"": "unknown"}})
        for column in ("started", "ended"):
            tasks[column] = pd.to_datetime(tasks[column].map(datetime.fromisoformat), utc=True)
        slots = tasks["tasks_per_node"].astype(int)
        for task in tasks[(slots < 1) | (tasks["ended"] < tasks["started"])].itertuples():
            raise ValueError(f"{task.rule} on {task.node}")
    except (ValueError, OverflowError) as error:
        raise DataError(f"a line that the executor does not write: {error}", where=path, action=action) from None
    return tasks.assign(hours=(tasks["ended"] - tasks["started"]) / timedelta(hours=1) / slots)


def by_rule(tasks: "DataFrame") -> "DataFrame":
    """Return the number of tasks and their node hours, by rule: columns tasks, hours."""
    return tasks.groupby("rule")["hours"].agg(tasks="size", hours="sum")


def by_machine(tasks: "DataFrame") -> "DataFrame":
    """Return the nodes, and the hours that they were up at least, by size and kind: columns nodes, hours."""
    node = ["vm_size", "kind", "node"]
    tasks = tasks.sort_values("started")
    tasks["busy_until"] = tasks.groupby(node)["ended"].cummax()
    idle = tasks["started"] - tasks.groupby(node)["busy_until"].shift()
    tasks["times_up"] = (idle > IDLE_AT_MOST).groupby([tasks[column] for column in node]).cumsum()
    up = tasks.groupby([*node, "times_up"]).agg(start=("started", "min"), end=("ended", "max"))
    hours = (up["end"] - up["start"]) / timedelta(hours=1)
    return hours.groupby(["vm_size", "kind"]).agg(nodes="size", hours="sum")
