"""Lay out a run's processes: how many nodes, and how many processes on each."""

from dataclasses import dataclass
from typing import Self

from pretrain_llama.errors import ConfigError
from pretrain_llama.run.sizes import process_count
from pretrain_llama.settings import RunSettings


@dataclass(frozen=True)
class Layout:
    """Nodes, and the training processes on each of them."""

    nodes: int
    processes_per_node: int

    @classmethod
    def of(cls, run: RunSettings, where: str = "run.yaml") -> Self:
        """Return the layout of a run.

        Args:
            run: run.yaml.
            where: the file that says so, for messages.

        Raises:
            ConfigError: its processes do not fill whole nodes.
        """
        processes = process_count(run)
        per_node = run["launch"]["processes_per_node"] or processes
        if processes % per_node:
            raise ConfigError(
                f"{processes} processes, tensor x pipeline x data, do not fill nodes of {per_node}",
                where=f"{where}: launch.processes_per_node",
                action="choose a number that divides them, or change parallel.data",
            )
        return cls(processes // per_node, per_node)


def check_launch(run: RunSettings, where: str) -> None:
    """Check a run's launch settings, before any job runs.

    Args:
        run: run.yaml.
        where: the file that says so, for messages.

    Raises:
        ConfigError: its processes do not fill whole nodes, or Slurm would tell it to end as it begins.
    """
    Layout.of(run, where)
    asked = run["launch"]["slurm"]
    if asked["save_seconds"] >= 60 * asked["time_limit_minutes"]:
        raise ConfigError(
            f"save_seconds {asked['save_seconds']} before the end of {asked['time_limit_minutes']} minutes is before "
            "the beginning",
            where=f"{where}: launch.slurm",
            action="give the job more time, or the training less to save",
        )
