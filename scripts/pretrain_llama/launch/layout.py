"""On how many nodes a run's processes are started, and how many on each."""

from dataclasses import dataclass
from typing import Any, Self

from pretrain_llama.errors import ConfigError
from pretrain_llama.training.sizes import process_count


@dataclass(frozen=True)
class Layout:
    """Nodes, and the training processes on each of them."""

    nodes: int
    processes_per_node: int

    @classmethod
    def of(cls, run: dict[str, Any], place: str = "run.yaml") -> Self:
        """Return the layout of a run.

        Args:
            run: run.yaml.
            place: of it, for messages.

        Raises:
            ConfigError: its processes do not fill whole nodes.
        """
        processes = process_count(run)
        per_node = run["launch"]["processes_per_node"] or processes
        if processes % per_node:
            raise ConfigError(
                f"{processes} processes, tensor x pipeline x data, do not fill nodes of {per_node}",
                where=f"{place}: launch.processes_per_node",
                action="choose a number that divides them, or change parallel.data",
            )
        return cls(processes // per_node, per_node)
