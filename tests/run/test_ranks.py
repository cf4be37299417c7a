"""The place of a process, by the names of each launcher; half and contradictory settings are refused."""

import pytest

from pretrain_llama.errors import OperatorError
from pretrain_llama.run.ranks import Ranks, first_node, from_environment

TORCH = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "6105"}
MPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
}
SLURM = {
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_ID": "1234567",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[003-004,007]",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}
# The shell that salloc opens, which is a step that srun did not start.
SALLOC = {"SLURM_STEP_ID": "4294967290", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}


def test_without_a_launcher_there_is_one_process() -> None:
    assert from_environment({}) == Ranks(0, 1, 0, 1, None, None)


@pytest.mark.parametrize(
    ("environment", "ranks"),
    [
        (TORCH | {"LOCAL_WORLD_SIZE": "4"}, Ranks(5, 8, 1, 4, "node0", 6105)),
        (TORCH, Ranks(5, 8, 1, 2, "node0", 6105)),
        (MPI | {"MASTER_ADDR": "node0"}, Ranks(5, 8, 1, 4, "node0", 29500)),
        (MPI | {"AZ_BATCH_MASTER_NODE": "10.0.0.4:6000", "MASTER_PORT": "6105"}, Ranks(5, 8, 1, 4, "10.0.0.4", 6105)),
        (MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "8"}, Ranks(5, 8, 1, 8, "127.0.0.1", 29500)),
        (SLURM, Ranks(5, 8, 1, 4, "gpu003", 24567)),
        (SLURM | {"MASTER_ADDR": "login", "MASTER_PORT": "1"}, Ranks(5, 8, 1, 4, "login", 1)),
        (SLURM | TORCH | {"WORLD_SIZE": "16", "RANK": "11"}, Ranks(11, 16, 1, 2, "node0", 6105)),
        (SLURM | TORCH | {"RANK": "3", "TORCHELASTIC_RUN_ID": "x"}, Ranks(3, 8, 1, 2, "node0", 6105)),
        (MPI | {"MASTER_ADDR": "a", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, Ranks(5, 8, 1, 4, "a", 29500)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_LOCALID": "0"}, Ranks()),
        (SLURM | {"SLURM_STEP_NUM_NODES": "1"}, Ranks(5, 8, 1, 4, "127.0.0.1", 24567)),
        (SALLOC | TORCH | {"WORLD_SIZE": "2", "RANK": "1"}, Ranks(1, 2, 1, 2, "node0", 6105)),
        (SALLOC | {"SLURM_NTASKS": "1"}, Ranks()),
    ],
    ids=[
        "torch",
        "AzureML",
        "mpi",
        "AzureML's mpi",
        "mpi on a node",
        "srun",
        "srun to",
        "nested",
        "torchrun",
        "mpirun in sbatch",
        "sbatch",
        "srun on a node",
        "launch.sh in salloc",
        "train.py in salloc",
    ],
)
def test_each_launcher_is_understood(environment: dict[str, str], ranks: Ranks) -> None:
    assert from_environment(environment) == ranks


def without(environment: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in names}


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        (without(TORCH, "WORLD_SIZE"), "WORLD_SIZE is not set"),
        (without(TORCH, "MASTER_ADDR"), "MASTER_ADDR is not set"),
        (without(TORCH, "LOCAL_RANK"), "LOCAL_RANK is not set"),
        (TORCH | {"RANK": "five"}, "RANK is 'five', a number expected"),
        (TORCH | {"LOCAL_WORLD_SIZE": "two"}, "LOCAL_WORLD_SIZE is 'two', a number expected"),
        (MPI | {"MASTER_ADDR": "a", "MASTER_PORT": "http"}, "MASTER_PORT is 'http', a number expected"),
        (SLURM | {"MASTER_PORT": "http"}, "MASTER_PORT is 'http', a number expected"),
        (without(SLURM, "SLURM_STEP_ID") | {"SLURM_NTASKS": "8(x2)"}, "SLURM_NTASKS is '8(x2)', a number expected"),
        (TORCH | {"RANK": "8"}, "process 8 of 8, on its node 1 of 2, cannot be"),
        (TORCH | {"RANK": "0"}, "process 0 of 8, on its node 1 of 2, cannot be"),
        (TORCH | {"LOCAL_WORLD_SIZE": "1"}, "on its node 1 of 1"),
        (MPI, "MASTER_ADDR is not set"),
        (without(MPI, "OMPI_COMM_WORLD_LOCAL_SIZE"), "OMPI_COMM_WORLD_LOCAL_SIZE is not set"),
        (MPI | TORCH | {"RANK": "1"}, "this is process 1 of 8 by one launcher, and 5 by another"),
        (SLURM | TORCH | {"RANK": "3"}, "this is process 3 of 8 by one launcher, and 5 by another"),
        (without(SLURM, "SLURM_STEP_NODELIST"), "SLURM_STEP_NODELIST is not set"),
        (without(SLURM, "SLURM_STEP_ID"), "one process in a Slurm job of 8 tasks"),
        (SALLOC, "one process in a Slurm job of 2 tasks"),
    ],
)
def test_half_or_contradictory_settings_are_refused_with_their_values(environment, problem: str) -> None:
    with pytest.raises(OperatorError, match="the environment: ") as refused:
        from_environment(environment)
    assert problem in str(refused.value)
    name = next(name for name in environment if name.startswith(("RANK", "OMPI", "SLURM_PROCID", "WORLD")))
    assert f"{name}={environment[name]}" in str(refused.value)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[003-007,010]", "gpu003"), ("a1,a2", "a1"), ("node7", "node7"), ("r[1,3]n", "r1n"), ("", None)],
)
def test_the_first_node_of_a_list(nodes: str, first: str | None) -> None:
    assert first_node(nodes) == first
