"""Snakemake's own Azure Batch executor and Azure storage, run against emulated Azure."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from azure_emulator import subscription as names
from azure_emulator.faults import Lose
from azure_emulator.service import CONTAINER, EmulatedAzure
from azure_emulator.waiting import wait_for

SNAKEFILE = """
rule greet:
    output: "greeting.txt"
    shell: "echo hello from $AZ_BATCH_NODE_ID > {output}"
"""
OPTIONS = {
    "--executor": "azure-batch",
    "--jobs": "2",
    "--seconds-between-status-checks": "1",
    "--default-storage-provider": "azure",
    "--default-storage-prefix": f"az://{CONTAINER}/greetings",
    "--storage-azure-account-name": names.STORAGE_ACCOUNT,
    "--azure-batch-pool-vm-size": "Standard_D2ds_v5",
    "--default-resources": "mem_mb=500",
}


def run(folder: Path, *more: str) -> subprocess.CompletedProcess:
    command = prepare(folder, SNAKEFILE)
    return subprocess.run([*command, *more], cwd=folder, capture_output=True, text=True, timeout=120)


def prepare(folder: Path, snakefile: str) -> list[str]:
    """Write a project; return the command that runs it."""
    folder.mkdir()
    (folder / "Snakefile").write_text(snakefile)
    options = [word for option in OPTIONS.items() for word in option]
    return [sys.executable, "-m", "snakemake", *options]


def test_a_rule_runs_as_a_task(azure: EmulatedAzure, tmp_path: Path) -> None:
    result = run(tmp_path / "project")
    assert result.returncode == 0, result.stderr
    with azure.azurite.client() as client:
        greeting = client.get_blob_client(CONTAINER, "greetings/greeting.txt").download_blob().readall()
    assert greeting.startswith(b"hello from tvm-")
    assert azure.cluster.pools == azure.cluster.jobs == {}  # both are deleted in the end
    assert azure.refused == []
    check_pool_as_documented(azure)


def check_pool_as_documented(azure: EmulatedAzure) -> None:
    """docs/azure.md names these two as the first suspects of a pool that the service refuses."""
    request = next(line for line in azure.traffic.requests(names.MANAGEMENT_HOST) if line["method"] == "PUT")
    pool = json.loads(request["body"])["properties"]
    assert pool["targetNodeCommunicationMode"] == "Classic"
    machine = pool["deploymentConfiguration"]["virtualMachineConfiguration"]
    registry = machine["containerConfiguration"]["containerRegistries"][0]
    assert (registry["username"], registry["password"]) == ("None", "None")
    assert registry["identityReference"]["resourceId"] == names.IDENTITY


def test_a_preempted_task_needs_no_help(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.lose_tasks(Lose(after_s=1, preempted=True))
    result = run(tmp_path / "project")
    assert (result.returncode, azure.faults.left()) == (0, 0), result.stderr
    assert azure.cluster.added_tasks == 1


def test_a_lost_node_is_answered_by_a_retry(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.lose_tasks(Lose(after_s=1))
    result = run(tmp_path / "project", "--retries", "1")
    assert (result.returncode, azure.faults.left()) == (0, 0), result.stderr
    assert "NodeLost" in result.stderr
    assert azure.cluster.added_tasks == 2


def test_an_interrupted_run_deletes_its_pool(azure: EmulatedAzure, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    command = prepare(folder, SNAKEFILE.replace("echo", "sleep 100; echo"))
    with open(tmp_path / "log.txt", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_for(lambda: any(task.state == "running" for task in list(azure.cluster.tasks.values())), 60)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
    assert azure.cluster.pools == azure.cluster.jobs == {}, (tmp_path / "log.txt").read_text()
