"""The emulated Batch service and its management under the real clients, with lost and preempted nodes."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from azure.batch import BatchClient
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from azure_emulator import subscription as names
from azure_emulator.azurite import Azurite
from azure_emulator.faults import Lose
from azure_emulator.service import EmulatedAzure
from batch_clients import (
    add_job,
    add_pool,
    add_task,
    batch_client,
    finished,
    management_client,
    output,
)
from processes import wait_for


@pytest.fixture
def batch(azure: EmulatedAzure) -> BatchClient:
    """A client of the Batch service, with a pool `pool` and a job `job`."""
    client = batch_client()
    add_pool("pool")
    add_job(client, "job")
    return client


def test_a_task_runs_with_its_settings_in_its_folder(batch: BatchClient) -> None:
    add_task(batch, "greet", "echo $GREETING; pwd; echo oops >&2")
    task = finished(batch, "greet")
    assert (task.execution_info.result, task.execution_info.exit_code) == ("success", 0)
    assert task.node_info.node_id.startswith("tvm-")
    greeting, folder = output(batch, "greet").split()
    assert greeting == "hello"
    assert folder.endswith("/wd")
    assert output(batch, "greet", "stderr.txt") == "oops\n"
    for missing in ("nothing.txt", "../../../requests.jsonl"):
        with pytest.raises(HttpResponseError):
            output(batch, "greet", missing)


def test_a_failing_task(batch: BatchClient) -> None:
    add_task(batch, "fail", "exit 3")
    info = finished(batch, "fail").execution_info
    assert (info.result, info.exit_code, info.failure_info.code) == ("failure", 3, "FailureExitCode")
    assert [task.id for task in batch.list_tasks("job")] == ["fail"]
    for state, found in (("completed", ["fail"]), ("running", [])):
        assert [task.id for task in batch.list_tasks("job", filter=f"state eq '{state}'")] == found
    with pytest.raises(HttpResponseError) as caught:
        batch.terminate_task("job", "fail")
    assert caught.value.error.code == "TaskCompleted"
    batch.delete_task("job", "fail")
    assert list(batch.list_tasks("job")) == []


def test_a_task_whose_node_is_lost_is_queued_again(azure: EmulatedAzure, batch: BatchClient) -> None:
    """So do Batch's best practices say; it is no retry, and no failure."""
    azure.faults.lose_tasks(Lose(after_s=0.5))
    add_task(batch, "again", "ls; touch traces; sleep 1")
    info = finished(batch, "again").execution_info
    assert (info.result, info.requeue_count, info.retry_count, azure.faults.left()) == ("success", 1, 0, 0)
    assert output(batch, "again") == "", "in a fresh folder"
    assert sorted(node.state for node in batch.list_nodes("pool")) == ["idle", "idle", "unknown"]


def test_what_a_task_printed_on_a_lost_node_is_gone(azure: EmulatedAzure, batch: BatchClient) -> None:
    add_task(batch, "quick", "echo done")
    node = finished(batch, "quick").node_info.node_id
    next(n for n in azure.cluster.pools["pool"].nodes if n.id == node).state = "unknown"
    with pytest.raises(HttpResponseError) as caught:
        output(batch, "quick")
    assert caught.value.status_code == 409


def test_a_preempted_task_runs_again_in_a_fresh_folder(azure: EmulatedAzure, batch: BatchClient) -> None:
    azure.faults.lose_tasks(Lose(after_s=0.5, preempted=True))
    add_task(batch, "again", "ls; touch traces; sleep 1")
    info = finished(batch, "again").execution_info
    assert (info.result, info.requeue_count) == ("success", 1)
    assert output(batch, "again") == ""
    assert azure.faults.left() == 0


def test_a_task_that_ends_in_time_leaves_the_fault_to_the_next(azure: EmulatedAzure, batch: BatchClient) -> None:
    azure.faults.lose_tasks(Lose(after_s=2))
    add_task(batch, "quick", "true")
    assert finished(batch, "quick").execution_info.result == "success"
    wait_for(lambda: azure.faults.left() == 1)
    add_task(batch, "slow", "sleep 30")
    wait_for(lambda: batch.get_task("job", "slow").execution_info.requeue_count == 1)


def test_a_task_has_the_time_that_was_asked_for(batch: BatchClient) -> None:
    add_task(batch, "endless", "sleep 60", limit=timedelta(seconds=0.5))
    assert finished(batch, "endless").execution_info.failure_info.code == "TaskEnded"


def test_tasks_share_the_slots(azure: EmulatedAzure, batch: BatchClient) -> None:
    """Four slots in the pool, but the emulator runs two at once."""
    for number in range(4):
        add_task(batch, f"task-{number}", "date +%s.%N; sleep 0.5; date +%s.%N")
    for number in range(4):
        finished(batch, f"task-{number}")
    times = [tuple(map(float, output(batch, f"task-{number}").split())) for number in range(4)]
    at_once = [sum(start <= moment < end for start, end in times) for moment, _ in times]
    assert max(at_once) == 2


def test_ended_by_a_person_and_with_its_job(batch: BatchClient) -> None:
    for name in ("one", "two"):
        add_task(batch, name, "echo $$; sleep 60")
    process = int(wait_for(lambda: started(batch, "one")))
    batch.terminate_task("job", "one")
    assert finished(batch, "one").execution_info.failure_info.code == "TaskEnded"
    other = int(wait_for(lambda: started(batch, "two")))
    batch.begin_delete_job("job")
    wait_for(lambda: not any(Path(f"/proc/{number}/fd").is_dir() for number in (process, other)))
    with pytest.raises(HttpResponseError) as caught:
        batch.get_task("job", "two")
    assert caught.value.error.code == "JobNotFound"


def started(batch: BatchClient, name: str) -> str:
    return batch.get_task("job", name).state == "running" and output(batch, name)


def test_a_task_is_bounded_in_time_and_tasks_in_number(azurite: Azurite, azure: EmulatedAzure, tmp_path: Path) -> None:
    with EmulatedAzure(tmp_path / "bounded", azurite, task_limit_s=1, most_tasks=1) as bounded:
        os.environ.update(bounded.environment)
        client = batch_client()
        add_pool("pool")
        add_job(client, "job")
        add_task(client, "endless", "sleep 60")
        assert finished(client, "endless").execution_info.exit_code == -9
        with pytest.raises(HttpResponseError) as caught:
            add_task(client, "more", "true")
        assert caught.value.error.code == "ActiveTaskQuotaReached"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda batch: batch.get_pool("none"), "PoolNotFound"),
        (lambda batch: batch.begin_delete_pool("none"), "PoolNotFound"),
        (lambda batch: list(batch.list_nodes("none")), "PoolNotFound"),
        (lambda batch: batch.begin_delete_job("none"), "JobNotFound"),
        (lambda batch: batch.get_task("job", "none"), "TaskNotFound"),
        (lambda batch: [add_task(batch, "twin") for _ in range(2)], "TaskExists"),
        (lambda batch: add_job(batch, "job"), "JobExists"),
        (lambda batch: add_job(batch, "other", "none"), "PoolNotFound"),
        (lambda batch: batch.begin_disable_job("job", {"disableTasks": "wait"}), "ResourceNotFound"),
        (lambda batch: list(batch.list_tasks("job", filter="commandLine eq 'true'")), "InvalidQueryParameterValue"),
    ],
)
def test_what_the_service_refuses(batch: BatchClient, call: Callable, code: str) -> None:
    with pytest.raises(HttpResponseError) as caught:
        call(batch)
    assert caught.value.error.code == code


def test_pools_come_and_go(batch: BatchClient) -> None:
    assert [pool.id for pool in batch.list_pools()] == ["pool"]
    pool = batch.get_pool("pool")
    assert (pool.vm_size, pool.current_dedicated_nodes, pool.task_slots_per_node) == ("Standard_D2ds_v5", 2, 2)
    batch.begin_delete_pool("pool")
    assert list(batch.list_pools()) == []


def test_only_what_was_selected_is_told(batch: BatchClient) -> None:
    assert batch.get_pool("pool", select=["id"]).vm_size is None


def test_a_pool_that_is_asked_for_again_is_there(batch: BatchClient) -> None:
    """As by a client whose answer got lost."""
    add_pool("pool")
    assert [pool.id for pool in batch.list_pools()] == ["pool"]


def test_images_of_the_service(batch: BatchClient) -> None:
    image = next(i for i in batch.list_supported_images() if i.image_reference.offer == "ubuntu-hpc")
    assert (image.node_agent_sku_id, image.batch_support_end_of_life.year) == ("batch.node.ubuntu 22.04", 2027)


def test_the_account_its_quota_and_sizes_of_machines(azure: EmulatedAzure) -> None:
    azure.management.quota["dedicatedCoreQuota"] = 8
    account = management_client().batch_account.get(names.RESOURCE_GROUP, names.BATCH_ACCOUNT).properties
    assert (account.dedicated_core_quota, account.account_endpoint) == (8, names.BATCH_HOST)
    sizes = {size.name: size for size in management_client().location.list_supported_virtual_machine_skus(names.REGION)}
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
        management_client(subscription).batch_account.get(group, account)
