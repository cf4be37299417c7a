"""The official clients of Batch, as tests of the stand-in use them: a right pool, job and task, to be changed."""

from datetime import timedelta

from azure.batch import BatchClient
from azure.batch import models as batch
from azure.identity import DefaultAzureCredential
from azure.mgmt.batch import BatchManagementClient
from azure.mgmt.batch import models as management

from azure_emulator import subscription as names
from processes import wait_for

IMAGE = f"{names.REGISTRY}/pretrain-llama-data:1"
ENDPOINT = f"https://{names.BATCH_HOST}"


def batch_client() -> BatchClient:
    return BatchClient(ENDPOINT, DefaultAzureCredential(), retry_total=0)


def management_client(subscription: str = names.SUBSCRIPTION) -> BatchManagementClient:
    return BatchManagementClient(DefaultAzureCredential(), subscription, retry_total=0)


def right_pool(vm_size: str = "Standard_D2ds_v5", nodes: int = 2, spot: int = 0, containers: bool = False) -> dict:
    """A pool that the service would make, in its JSON; of the fixed size, two tasks at once on a node."""
    machine = {
        "imageReference": dict(zip(("publisher", "offer", "sku"), names.IMAGES[0][:3], strict=True)),
        "nodeAgentSkuId": names.IMAGES[0][3],
    }
    if containers:
        machine["containerConfiguration"] = {"type": "DockerCompatible", "containerImageNames": [IMAGE]}
    fixed = {"targetDedicatedNodes": nodes, "targetLowPriorityNodes": spot}
    return {
        "properties": {
            "vmSize": vm_size,
            "deploymentConfiguration": {"virtualMachineConfiguration": machine},
            "scaleSettings": {"fixedScale": fixed},
            "taskSlotsPerNode": 2,
        }
    }


def add_pool(name: str, pool: dict | None = None) -> management.Pool:
    account = (names.RESOURCE_GROUP, names.BATCH_ACCOUNT)
    return management_client().pool.create(*account, name, management.Pool(pool or right_pool()))


def add_job(client: BatchClient, name: str, pool: str = "pool") -> None:
    client.create_job(batch.BatchJobCreateOptions(id=name, pool_info=batch.BatchPoolInfo(pool_id=pool)))


def add_task(client: BatchClient, name: str, command: str = "true", limit: timedelta | None = None) -> None:
    """Add a task to the job `job`; bash runs its command, with a variable GREETING."""
    constraints = None if limit is None else batch.BatchTaskConstraints(max_wall_clock_time=limit)
    setting = batch.EnvironmentSetting(name="GREETING", value="hello")
    line = f"/bin/bash -c '{command}'"
    client.create_task(
        "job",
        batch.BatchTaskCreateOptions(
            id=name, command_line=line, environment_settings=[setting], constraints=constraints
        ),
    )


def finished(client: BatchClient, name: str) -> batch.BatchTask:
    return wait_for(lambda: (task := client.get_task("job", name)).state == "completed" and task)


def output(client: BatchClient, name: str, file: str = "stdout.txt") -> str:
    return b"".join(client.download_task_file("job", name, file)).decode()
