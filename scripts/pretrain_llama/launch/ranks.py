"""The place of this process among the others, from the environment that a launcher sets."""

import os
from dataclasses import dataclass

from pretrain_llama.errors import OperatorError


@dataclass(frozen=True)
class Ranks:
    """rank: of all processes; local: of those on this machine; world_size and local_world_size count them."""

    rank: int
    world_size: int
    local: int
    local_world_size: int


def from_environment() -> Ranks:
    """Return this process's place, from RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE; one process where they are not.

    Raises:
        OperatorError: only some of them are set, or MASTER_ADDR and MASTER_PORT are missing with them.
    """
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        return Ranks(0, 1, 0, 1)
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise OperatorError(
            f"{', '.join(missing)} not set, but other variables of a launcher are",
            where="the environment",
            action="start the training through launch_training.py, torchrun or an AzureML job",
        )
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local = int(os.environ.get("LOCAL_RANK", rank))
    return Ranks(rank, world_size, local, int(os.environ.get("LOCAL_WORLD_SIZE", world_size)))
