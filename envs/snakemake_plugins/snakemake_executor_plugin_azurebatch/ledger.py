"""Record each task that has ended: where it ran, and from when to when. A run's node hours are summed from this."""

import csv
from pathlib import Path

from azure.batch import models

COLUMNS = (
    "rule",
    "vm_size",
    "node",
    "kind",  # dedicated or spot; empty where nobody saw the node
    "tasks_per_node",
    "started",  # UTC, as of the last time that the service started it
    "ended",
    "result",
    "requeued",  # times that it lost its node; what these took is not told
)


def record(path: Path, vm_size: str, tasks_per_node: int, dedicated: bool | None, task: models.BatchTask) -> None:
    """Append a task to a file, which is made for the first one.

    Args:
        path: of the file.
        vm_size: of the node.
        tasks_per_node: how many tasks share a node.
        dedicated: whether it is, and no spot node; None where that is not known.
        task: one that has ended.
    """
    info, node = task.execution_info, task.node_info
    if info is None or info.start_time is None:  # it was ended before it began
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        if not file.tell():
            writer.writerow(COLUMNS)
        writer.writerow(
            [
                task.display_name,
                vm_size,
                f"{node.pool_id}/{node.node_id}" if node else "",
                "" if dedicated is None else "dedicated" if dedicated else "spot",
                tasks_per_node,
                info.start_time.isoformat(),
                info.end_time.isoformat() if info.end_time else "",
                getattr(info.result, "value", info.result),
                info.requeue_count,
            ]
        )
