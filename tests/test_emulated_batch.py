"""The emulated Batch service and its management under the real clients, with lost and preempted nodes."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from azure.batch import BatchServiceClient
from azure.batch import models as batch_models
from azure.core.exceptions import (
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.identity import DefaultAzureCredential
from azure.mgmt.batch import BatchManagementClient
from azure.mgmt.batch import models as management_models
from snakemake_executor_plugin_azure_batch.util import AzureIdentityCredentialAdapter

from azure_emulator import subscription as names
from azure_emulator.azurite import Azurite
from azure_emulator.faults import Lose
from azure_emulator.service import EmulatedAzure
from processes import wait_for

MIB = 1 << 20
STORE = f"https://{names.BLOB_HOST}"
UNKNOWN_FILTER = batch_models.TaskListOptions(filter="commandLine eq 'true'")
BATCH_SCOPE = "https://batch.core.windows.net/.default"


@pytest.fixture
def batch(azure: EmulatedAzure) -> BatchServiceClient:
    """A client of the Batch service, with a pool `pool` and a job `job`."""
    credential = AzureIdentityCredentialAdapter(DefaultAzureCredential(), BATCH_SCOPE)
    client = BatchServiceClient(credential, f"https://{names.BATCH_HOST}")
    add_pool("pool")
    pool = batch_models.PoolInformation(pool_id="pool")
    client.job.add(batch_models.JobAddParameter(id="job", pool_info=pool))
    return client


def management() -> BatchManagementClient:
    return BatchManagementClient(DefaultAzureCredential(), names.SUBSCRIPTION)


def add_pool(name: str, vm_size: str = "Standard_D2ds_v5", nodes: int = 2) -> None:
    fixed = management_models.FixedScaleSettings(target_dedicated_nodes=nodes)
    pool = management_models.Pool(
        vm_size=vm_size, scale_settings=management_models.ScaleSettings(fixed_scale=fixed), task_slots_per_node=2
    )
    management().pool.create(names.RESOURCE_GROUP, names.BATCH_ACCOUNT, name, pool)


def add_task(batch: BatchServiceClient, name: str, command: str) -> None:
    setting = batch_models.EnvironmentSetting(name="GREETING", value="hello")
    command_line = f"/bin/bash -c '{command}'"
    batch.task.add(
        "job", batch_models.TaskAddParameter(id=name, command_line=command_line, environment_settings=[setting])
    )


def finished(batch: BatchServiceClient, name: str) -> batch_models.CloudTask:
    return wait_for(lambda: (task := batch.task.get("job", name)).state == "completed" and task)


def output(batch: BatchServiceClient, name: str, file: str = "stdout.txt") -> str:
    return b"".join(batch.file.get_from_task("job", name, file)).decode()


def test_a_task_runs_with_its_settings_in_its_folder(batch: BatchServiceClient) -> None:
    add_task(batch, "greet", "echo $GREETING; pwd; echo oops >&2")
    task = finished(batch, "greet")
    assert (task.execution_info.result, task.execution_info.exit_code) == ("success", 0)
    assert task.node_info.node_id.startswith("tvm-")
    greeting, folder = output(batch, "greet").split()
    assert greeting == "hello"
    assert folder.endswith("/wd")
    assert output(batch, "greet", "stderr.txt") == "oops\n"
    for missing in ("nothing.txt", "../../../requests.jsonl"):
        with pytest.raises(batch_models.BatchErrorException):
            output(batch, "greet", missing)


def test_a_failing_task(batch: BatchServiceClient) -> None:
    add_task(batch, "fail", "exit 3")
    info = finished(batch, "fail").execution_info
    assert (info.result, info.exit_code, info.failure_info.code) == ("failure", 3, "FailureExitCode")
    assert [task.id for task in batch.task.list("job")] == ["fail"]
    for state, found in (("completed", ["fail"]), ("running", [])):
        options = batch_models.TaskListOptions(filter=f"state eq '{state}'")
        assert [task.id for task in batch.task.list("job", options)] == found
    with pytest.raises(batch_models.BatchErrorException) as caught:
        batch.task.terminate("job", "fail")
    assert caught.value.error.code == "TaskCompleted"
    batch.task.delete("job", "fail")
    assert list(batch.task.list("job")) == []


def test_a_lost_node_fails_its_task(azure: EmulatedAzure, batch: BatchServiceClient) -> None:
    azure.faults.lose_tasks(Lose(after_s=0.3))
    add_task(batch, "lost", "sleep 30")
    info = finished(batch, "lost").execution_info
    assert (info.result, info.exit_code, info.failure_info.code) == ("failure", None, "NodeLost")
    assert info.failure_info.category == batch_models.ErrorCategory.server_error
    states = [node.state for node in batch.compute_node.list("pool")]
    assert sorted(states) == ["idle", "idle", "unknown"]
    with pytest.raises(batch_models.BatchErrorException) as caught:
        output(batch, "lost")
    assert caught.value.error.code == "NodeNotReady"


def test_a_preempted_task_runs_again_in_a_fresh_folder(azure: EmulatedAzure, batch: BatchServiceClient) -> None:
    azure.faults.lose_tasks(Lose(after_s=0.5, preempted=True))
    add_task(batch, "again", "ls; touch traces; sleep 1")
    info = finished(batch, "again").execution_info
    assert (info.result, info.requeue_count) == ("success", 1)
    assert output(batch, "again") == ""
    assert azure.faults.left() == 0


def test_a_task_that_ends_in_time_leaves_the_fault_to_the_next(azure: EmulatedAzure, batch: BatchServiceClient) -> None:
    azure.faults.lose_tasks(Lose(after_s=2))
    add_task(batch, "quick", "true")
    assert finished(batch, "quick").execution_info.result == "success"
    wait_for(lambda: azure.faults.left() == 1)
    add_task(batch, "slow", "sleep 30")
    assert finished(batch, "slow").execution_info.failure_info.code == "NodeLost"


def test_a_task_has_the_time_that_was_asked_for(batch: BatchServiceClient) -> None:
    limit = batch_models.TaskConstraints(max_wall_clock_time=timedelta(seconds=0.5))
    endless = batch_models.TaskAddParameter(id="endless", command_line="sleep 60", constraints=limit)
    batch.task.add("job", endless)
    assert finished(batch, "endless").execution_info.failure_info.code == "TaskEnded"


def test_tasks_share_the_slots(azure: EmulatedAzure, batch: BatchServiceClient) -> None:
    """Four slots in the pool, but the emulator runs two at once."""
    for number in range(4):
        add_task(batch, f"task-{number}", "date +%s.%N; sleep 0.5; date +%s.%N")
    for number in range(4):
        finished(batch, f"task-{number}")
    times = [tuple(map(float, output(batch, f"task-{number}").split())) for number in range(4)]
    at_once = [sum(start <= moment < end for start, end in times) for moment, _ in times]
    assert max(at_once) == 2


def test_ended_by_a_person_and_with_its_job(batch: BatchServiceClient) -> None:
    for name in ("one", "two"):
        add_task(batch, name, "echo $$; sleep 60")
    process = int(wait_for(lambda: started(batch, "one")))
    batch.task.terminate("job", "one")
    assert finished(batch, "one").execution_info.failure_info.code == "TaskEnded"
    other = int(wait_for(lambda: started(batch, "two")))
    batch.job.delete("job")
    wait_for(lambda: not any(Path(f"/proc/{number}/fd").is_dir() for number in (process, other)))
    with pytest.raises(batch_models.BatchErrorException) as caught:
        batch.task.get("job", "two")
    assert caught.value.error.code == "JobNotFound"


def started(batch: BatchServiceClient, name: str) -> str:
    return batch.task.get("job", name).state == "running" and output(batch, name)


def test_a_task_is_bounded_in_time_and_tasks_in_number(azurite: Azurite, azure: EmulatedAzure, tmp_path: Path) -> None:
    with EmulatedAzure(tmp_path / "bounded", azurite, task_limit_s=1, most_tasks=1) as bounded:
        os.environ.update(bounded.environment)
        client = BatchServiceClient(
            AzureIdentityCredentialAdapter(DefaultAzureCredential(), BATCH_SCOPE), f"https://{names.BATCH_HOST}"
        )
        add_pool("pool")
        pool = batch_models.PoolInformation(pool_id="pool")
        client.job.add(batch_models.JobAddParameter(id="job", pool_info=pool))
        add_task(client, "endless", "sleep 60")
        assert finished(client, "endless").execution_info.exit_code == -9
        with pytest.raises(batch_models.BatchErrorException) as caught:
            add_task(client, "more", "true")
        assert caught.value.error.code == "ActiveTaskQuotaReached"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda batch: batch.pool.get("none"), "PoolNotFound"),
        (lambda batch: batch.pool.delete("none"), "PoolNotFound"),
        (lambda batch: list(batch.compute_node.list("none")), "PoolNotFound"),
        (lambda batch: batch.job.delete("none"), "JobNotFound"),
        (lambda batch: batch.task.get("job", "none"), "TaskNotFound"),
        (lambda batch: add_task(batch, "a name with spaces", "true"), "InvalidPropertyValue"),
        (lambda batch: [add_task(batch, "twin", "true") for _ in range(2)], "TaskExists"),
        (lambda batch: add_job(batch, "job", "pool"), "JobExists"),
        (lambda batch: add_job(batch, "other", "none"), "PoolNotFound"),
        (lambda batch: batch.job.disable("job", "wait"), "ResourceNotFound"),
        (lambda batch: list(batch.task.list("job", UNKNOWN_FILTER)), "InvalidQueryParameterValue"),
    ],
)
def test_what_the_service_refuses(batch: BatchServiceClient, call: Callable, code: str) -> None:
    with pytest.raises(batch_models.BatchErrorException) as caught:
        call(batch)
    assert caught.value.error.code == code


def add_job(batch: BatchServiceClient, name: str, pool: str) -> None:
    batch.job.add(batch_models.JobAddParameter(id=name, pool_info=batch_models.PoolInformation(pool_id=pool)))


def test_pools_come_and_go(batch: BatchServiceClient) -> None:
    assert [pool.id for pool in batch.pool.list()] == ["pool"]
    pool = batch.pool.get("pool")
    assert (pool.vm_size, pool.current_dedicated_nodes, pool.task_slots_per_node) == ("Standard_D2ds_v5", 2, 2)
    batch.pool.delete("pool")
    assert list(batch.pool.list()) == []


def test_a_pool_beyond_the_quota_gets_no_nodes(batch: BatchServiceClient) -> None:
    add_pool("large", "Standard_D16ds_v5", nodes=26)
    pool = batch.pool.get("large")
    assert (pool.current_dedicated_nodes, pool.resize_errors[0].code) == (0, "AccountCoreQuotaReached")


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("$TargetDedicatedNodes = if 1", "no statement of an autoscale formula: '$TargetDedicatedNodes = if 1'"),
        ("$TargetDedicatedNodes = min($PendingTasks.GetSample(TimeInterval_Minute));", "cannot be evaluated"),
        ("$TargetDedicatedNodes = 1;", "nodes would be taken away from running tasks"),
    ],
)
def test_a_formula_that_cannot_be_evaluated_is_refused(azure: EmulatedAzure, formula: str, says: str) -> None:
    scale = management_models.ScaleSettings(auto_scale=management_models.AutoScaleSettings(formula=formula))
    pool = management_models.Pool(vm_size="Standard_D2ds_v5", scale_settings=scale)
    with pytest.raises(HttpResponseError) as caught:
        management().pool.create(names.RESOURCE_GROUP, names.BATCH_ACCOUNT, "odd", pool)
    assert says in str(caught.value)


def test_images_of_the_service(batch: BatchServiceClient) -> None:
    image = next(i for i in batch.account.list_supported_images() if i.image_reference.offer == "ubuntu-hpc")
    assert (image.node_agent_sku_id, image.batch_support_end_of_life.year) == ("batch.node.ubuntu 22.04", 2027)


def test_the_account_its_quota_and_sizes_of_machines(azure: EmulatedAzure) -> None:
    azure.management.quota["dedicatedCoreQuota"] = 8
    account = management().batch_account.get(names.RESOURCE_GROUP, names.BATCH_ACCOUNT)
    assert (account.dedicated_core_quota, account.account_endpoint) == (8, names.BATCH_HOST)
    sizes = {size.name: size for size in management().location.list_supported_virtual_machine_skus(names.REGION)}
    assert sizes["Standard_D4ds_v5"].capabilities[0].value == "4"


@pytest.mark.parametrize(
    ("subscription", "group", "account"),
    [
        ("none", names.RESOURCE_GROUP, names.BATCH_ACCOUNT),
        (names.SUBSCRIPTION, "none", names.BATCH_ACCOUNT),
        (names.SUBSCRIPTION, names.RESOURCE_GROUP, "none"),
    ],
)
def test_what_is_not_in_the_subscription(azure: EmulatedAzure, subscription: str, group: str, account: str) -> None:
    with pytest.raises(ResourceNotFoundError):
        BatchManagementClient(DefaultAzureCredential(), subscription).batch_account.get(group, account)


def test_an_unknown_size_of_machine_is_refused(azure: EmulatedAzure) -> None:
    with pytest.raises(HttpResponseError, match="Standard_X1"):
        add_pool("odd", "Standard_X1")
