"""The executor of envs/snakemake_plugins, with the real clients, against emulated Azure."""

import asyncio
import os
import re
import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from snakemake_executor_plugin_azurebatch import Executor

from azure_emulator import subscription as names
from azure_emulator.autoscale import Asked
from azure_emulator.faults import Cut, Lose, Refuse, Where
from azure_emulator.service import CONTAINER, EmulatedAzure
from executor_runs import SNAKEFILE, STORE, Run
from pretrain_llama.estimate.node_hours import read
from processes import wait_for

MANY = """
rule all:
    input: expand("{number}.txt", number=range(%d))
rule greet:
    output: "{number}.txt"
    shell: "sleep 100; touch {output}"
"""


def wait_for_a_task(azure: EmulatedAzure) -> None:
    wait_for(lambda: any(task.state == "running" for task in list(azure.cluster.tasks.values())), 60)


def batch_requests(azure: EmulatedAzure) -> Counter:
    """Method and path, without names, of the requests to the Batch service."""
    kinds = Counter()
    for line in azure.traffic.requests(names.BATCH_HOST):
        parts = line["target"].partition("?")[0].split("/")
        kinds[" ".join([line["method"], *parts[1::2], *(["one"] if len(parts) % 2 else [])])] += 1
    return kinds


def test_a_rule_runs_as_a_task(azure: EmulatedAzure, tmp_path: Path) -> None:
    run = Run(tmp_path / "project", SNAKEFILE.replace("shell", "resources: runtime=120\n    shell"))
    wait_for(lambda: azure.cluster.pools, 60)
    (pool,) = azure.cluster.pools.values()
    assert pool.asked == Asked(1, 0), "one task is all there is to come"
    assert pool.metadata[0] == {"name": "store", "value": f"{STORE} of {names.STORAGE_ACCOUNT}"}
    (task,) = wait_for(lambda: list(azure.cluster.tasks.values()), 60)
    assert "pip install" not in task.asked["commandLine"]
    assert task.limit_s == 2 * 3600
    assert run.end() == 0, run.log
    with azure.azurite.client() as client:
        greeting = client.get_blob_client(CONTAINER, "greetings/greeting.txt").download_blob().readall()
    assert greeting.startswith(b"hello from tvm-")
    assert azure.cluster.pools == azure.cluster.jobs == {}  # both are deleted in the end
    assert batch_requests(azure)["DELETE jobs tasks one"] == 1, "the node's disk is for the tasks to come"
    assert azure.refused == []


def test_a_task_has_the_cores_of_its_node(azure: EmulatedAzure, tmp_path: Path) -> None:
    """However few the submitting machine has; profiles/default asks for all of those."""
    snakefile = SNAKEFILE.replace("shell:", "threads: 2\n    shell:").replace("hello from", "{threads} threads on")
    run = Run(tmp_path / "project", snakefile, "--cores", "1")
    assert run.end() == 0, run.log
    with azure.azurite.client() as client:
        greeting = client.get_blob_client(CONTAINER, "greetings/greeting.txt").download_blob().readall()
    assert greeting.startswith(f"{min(2, os.cpu_count())} threads".encode())


def test_a_status_check_takes_as_many_requests_however_many_tasks(azure: EmulatedAzure, tmp_path: Path) -> None:
    run = Run(tmp_path / "project", MANY % 12)
    wait_for(lambda: azure.cluster.added_tasks == 12, 60)
    (pool,) = azure.cluster.pools.values()
    assert pool.asked == Asked(5, 0), "twelve tasks, two at once on a node, and no more than the profile allows"
    before = batch_requests(azure)
    wait_for(lambda: batch_requests(azure)["GET jobs tasks"] >= before["GET jobs tasks"] + 5)
    assert run.end(signal.SIGINT) != 0
    since = batch_requests(azure) - before
    checks = since["GET jobs tasks"]
    assert abs(since["GET pools one"] - checks) <= 1
    assert abs(since["GET pools nodes"] - checks) <= 1
    assert checks >= 5
    del since["GET jobs tasks"], since["GET pools one"], since["GET pools nodes"]
    del since["GET jobs one"]  # the client looks whether it is gone
    assert since == {"DELETE jobs one": 1, "DELETE pools one": 1}, "at the end"
    assert azure.cluster.pools == azure.cluster.jobs == {}, run.log


def test_a_killed_run_leaves_a_pool_that_empties_itself_and_the_next_run_deletes(
    azure: EmulatedAzure, tmp_path: Path
) -> None:
    others = {"prefix": f"az://results/other of {names.STORAGE_ACCOUNT}", "account": f"{STORE} of another"}
    others["unknown"] = STORE  # of some account
    for name, store in others.items():
        other = azure.cluster.add_pool(f"snakepool-{name}", "Standard_D2ds_v5", Asked(1, 0), 1)
        other.metadata = [{"name": "store", "value": store}]
    run = Run(tmp_path / "killed", MANY % 3)
    wait_for(lambda: azure.cluster.added_tasks == 3, 60)
    run.end(signal.SIGKILL)
    left = next(name for name in azure.cluster.pools if name.removeprefix("snakepool-") not in others)
    assert azure.cluster.nodes_asked(left, timedelta(hours=1)) == Asked(2, 0), "tasks that run are left in peace"
    for task in list(azure.cluster.tasks.values()):
        azure.cluster.terminate(task)
    assert azure.cluster.nodes_asked(left, timedelta(minutes=20)) == Asked(0, 0)
    next_run = Run(tmp_path / "next")
    assert next_run.end() == 0, next_run.log
    assert f"Deleting Batch Pool {left}, left by" in next_run.log
    assert f"process {run.process.pid}" in next_run.log
    assert list(azure.cluster.pools) == [f"snakepool-{name}" for name in others], "of other stores"
    assert azure.cluster.jobs == {}


def test_a_run_without_tasks_makes_no_pool(azure: EmulatedAzure, tmp_path: Path) -> None:
    run = Run(tmp_path / "project", "localrules: greet\n" + SNAKEFILE.replace("$AZ_BATCH_NODE_ID", "here"))
    assert run.end() == 0, run.log
    assert batch_requests(azure) == {}


def test_a_preempted_task_needs_no_help_and_its_times_are_noted(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.lose_tasks(Lose(after_s=1, preempted=True))
    noted = tmp_path / "project" / "results" / "tasks.tsv"
    options = ["--azurebatch-pool-spot-node-count", "5", "--azurebatch-task-log", "results/tasks.tsv"]
    run = Run(tmp_path / "project", SNAKEFILE.replace("echo", "sleep 3; echo"), *options)
    (pool,) = wait_for(lambda: list(azure.cluster.pools.values()), 60)
    assert pool.asked == Asked(0, 1), "a spot node, as long as they are to be had"
    assert (run.end(), azure.faults.left()) == (0, 0), run.log
    assert azure.cluster.added_tasks == 1
    header, line = noted.read_text().splitlines()
    values = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    assert (values["rule"], values["vm_size"], values["kind"]) == ("greet", "Standard_D2ds_v5", "spot")
    assert (values["result"], values["requeued"], values["tasks_per_node"]) == ("success", "1", "2")
    (hours,) = read(noted)["hours"]
    assert 3 <= hours * 3600 * 2 < 60, "of a half of its node"


def test_a_task_whose_answer_got_lost_is_not_sent_twice(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Cut("answer"), Where("batch", "POST", "/tasks"))
    run = Run(tmp_path / "project")
    assert (run.end(), azure.faults.left()) == (0, 0), run.log
    assert azure.cluster.added_tasks == 1
    assert batch_requests(azure)["POST jobs tasks"] == 2, "the client repeats it"


def test_a_job_whose_answer_got_lost_is_there(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Cut("answer"), Where("batch", "POST", "/jobs"))
    run = Run(tmp_path / "project")
    assert (run.end(), azure.faults.left()) == (0, 0), run.log
    assert batch_requests(azure)["POST jobs"] == 2, "the client repeats it"


def test_a_task_that_somebody_deleted_has_failed(azure: EmulatedAzure, tmp_path: Path) -> None:
    run = Run(tmp_path / "project", SNAKEFILE.replace("echo", "sleep 5; echo"), "--retries", "1")
    wait_for_a_task(azure)
    ((job, name), task) = next(iter(azure.cluster.tasks.items()))
    azure.cluster.delete_task(job, task)
    assert run.end() == 0, run.log
    assert f"the Batch task {name} is gone: somebody deleted it" in run.log
    assert azure.cluster.added_tasks == 2


def test_rules_may_ask_for_machines_of_another_size(azure: EmulatedAzure, tmp_path: Path) -> None:
    sizes = ["resources: vm_size='Standard_D4ds_v5'", ""]
    rule = "rule r{0}:\n    output: '{0}.txt'\n    {1}\n    shell: 'sleep 5; echo $AZ_BATCH_JOB_ID > {{output}}'\n"
    rules = "rule all:\n    input: '0.txt', '1.txt'\n" + "".join(map(rule.format, range(2), sizes))
    run = Run(tmp_path / "project", rules)
    wait_for(lambda: azure.cluster.added_tasks == 2, 60)
    pools = {pool.size: (pool.asked.dedicated, name) for name, pool in azure.cluster.pools.items()}
    assert {size: nodes for size, (nodes, _) in pools.items()} == {"Standard_D4ds_v5": 1, "Standard_D2ds_v5": 1}
    assert run.end() == 0, run.log
    with azure.azurite.client() as client:
        ran_in = [client.get_blob_client(CONTAINER, f"greetings/{n}.txt").download_blob().readall() for n in range(2)]
    jobs = [pools[size][1].replace("snakepool", "snakejob") for size in ("Standard_D4ds_v5", "Standard_D2ds_v5")]
    assert [text.decode().strip() for text in ran_in] == jobs
    assert azure.cluster.pools == azure.cluster.jobs == {}


def test_a_task_whose_node_is_lost_needs_no_help(azure: EmulatedAzure, tmp_path: Path) -> None:
    """The service queues it again; no retry of Snakemake's is spent."""
    azure.faults.lose_tasks(Lose(after_s=1))
    run = Run(tmp_path / "project", SNAKEFILE, "--retries", "0")
    assert (run.end(), azure.faults.left()) == (0, 0), run.log
    assert azure.cluster.added_tasks == 1


def test_a_service_that_does_not_answer_for_a_while_ends_nothing(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Cut("answer"), Where("batch", "GET", "/pools/"), times=4)
    azure.faults.add(Refuse(403, "AuthorizationPermissionMismatch"), Where("batch", "GET", "/tasks"))
    run = Run(tmp_path / "project")
    assert (run.end(), azure.faults.left()) == (0, 0), run.log
    assert "does not tell how tasks are, asking again" in run.log


def test_what_a_failed_task_printed_is_shown(azure: EmulatedAzure, tmp_path: Path) -> None:
    run = Run(tmp_path / "project", SNAKEFILE.replace("echo hello", "echo no more ships >&2; exit 3; echo"))
    assert run.end() == 1
    assert "no more ships" in run.log
    assert "FailureExitCode" in run.log


@pytest.mark.parametrize("quota", [0, 400])
def test_a_pool_that_will_never_have_a_node_ends_the_run(azure: EmulatedAzure, tmp_path: Path, quota: int) -> None:
    azure.management.quota["dedicatedCoreQuota"] = quota
    run = Run(tmp_path / "project", SNAKEFILE.replace("echo", "sleep 100; echo"))
    (pool,) = wait_for(lambda: list(azure.cluster.pools.values()), 60)
    for node in pool.nodes:
        node.state, message = "unusable", "The image cannot be pulled"
        node.errors = [{"code": "ContainerInvalidImage", "message": message, "errorDetails": []}]
    assert run.end() == 1
    assert "the Batch pool has no node that works: " in run.log
    assert ("ContainerInvalidImage: The image cannot be pulled" if quota else "AccountCoreQuotaReached") in run.log
    assert azure.cluster.pools == {}


def test_a_pool_that_cannot_scale_is_told(azure: EmulatedAzure, tmp_path: Path) -> None:
    """It would have no node, and no error of one: the run would wait and say nothing."""
    run = Run(tmp_path / "project", SNAKEFILE.replace("echo", "sleep 5; echo"))
    (pool,) = wait_for(lambda: list(azure.cluster.pools.values()), 60)
    pool.formula_error = {"code": "AutoScalingFormulaEvaluationError", "message": "no samples", "values": []}
    assert run.end() == 0, run.log
    assert re.search(r"snakepool-\S+ does not scale: AutoScalingFormulaEvaluationError: no samples", run.log)


def test_a_job_that_somebody_deleted_ends_the_run(azure: EmulatedAzure, tmp_path: Path) -> None:
    run = Run(tmp_path / "project", SNAKEFILE.replace("echo", "sleep 100; echo"))
    wait_for_a_task(azure)
    azure.cluster.delete_job(next(iter(azure.cluster.jobs)))
    assert run.end() == 1
    assert "or its pool is gone: somebody deleted it" in run.log


def test_a_login_that_may_not_use_the_batch_account_is_told(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Refuse(403, "AuthorizationPermissionMismatch"), Where("batch", "GET", "/pools"))
    run = Run(tmp_path / "project")
    assert run.end() == 1
    assert f"cannot list the pools of https://{names.BATCH_HOST}: " in run.log
    assert "AuthorizationPermissionMismatch" in run.log and "its role in the Batch account: make azure-doc" in run.log
    assert "Traceback" not in run.log


def test_the_service_may_refuse_a_pool_or_a_task(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Refuse(409, "PoolQuotaReached", message="no more pools"), Where("management", "PUT"))
    run = Run(tmp_path / "pool")
    assert run.end() == 1
    assert "cannot make a pool: " in run.log
    assert "no more pools" in run.log
    azure.faults.add(Refuse(409, "ActiveJobAndScheduleQuotaReached"), Where("batch", "POST", "/jobs"))
    run = Run(tmp_path / "job")
    assert run.end() == 1
    assert "cannot add a job: " in run.log and "ActiveJobAndScheduleQuotaReached" in run.log
    assert azure.cluster.pools == {}, run.log
    azure.faults.add(Refuse(409, "ActiveTaskQuotaReached"), Where("batch", "POST", "/tasks"))
    run = Run(tmp_path / "task", SNAKEFILE, "--retries", "1")
    assert run.end() == 0, run.log
    assert "cannot add a task: " in run.log


def test_a_status_check_before_the_executor_is_ready_raises_nothing() -> None:
    executor = Executor.__new__(Executor)

    async def asked() -> list[object]:
        return [job async for job in executor.check_active_jobs([])]

    assert asyncio.run(asked()) == []
