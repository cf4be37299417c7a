"""Define the executor's options, --azurebatch-…; those of an account may come from the environment instead."""

import os
from dataclasses import dataclass, field, fields
from typing import Any, Optional
from urllib.parse import urlsplit

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

VARIABLES = "SNAKEMAKE_AZURE_BATCH_"


def _option(text: str, default: Any = None, env_var: bool = False, required: bool = False) -> Any:
    return field(default=default, metadata={"help": text, "env_var": env_var, "required": required})


# Snakemake reads Optional[str], and not str | None.
# ruff: noqa: UP045
@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """What may be set; an option that is not given is taken from SNAKEMAKE_AZURE_BATCH_{NAME}, if it has a variable.

    There is no secret among them: nodes have an identity, and a person a login.
    """

    account_url: Optional[str] = _option("https://ACCOUNT.REGION.batch.azure.com", env_var=True, required=True)
    subscription_id: Optional[str] = _option("Subscription of the Batch account.", env_var=True, required=True)
    resource_group_name: Optional[str] = _option("Resource group of the Batch account.", env_var=True, required=True)
    managed_identity_resource_id: Optional[str] = _option(
        "Identity of the nodes: /subscriptions/…/userAssignedIdentities/NAME.", env_var=True
    )
    managed_identity_client_id: Optional[str] = _option(
        "Client id of that identity: tasks get it as AZURE_CLIENT_ID.", env_var=True
    )
    container_registry_url: Optional[str] = _option("Registry in which nodes log in as their identity.", env_var=True)
    pool_subnet_id: Optional[str] = _option("Subnet of the nodes.", env_var=True)
    pool_image_publisher: str = _option("Publisher of the machines' image.", "microsoft-dsvm")
    pool_image_offer: str = _option("Offer of the machines' image.", "ubuntu-hpc")
    pool_image_sku: str = _option("SKU of the machines' image.", "2204")
    pool_vm_node_agent_sku_id: str = _option("Node agent of the machines' image.", "batch.node.ubuntu 22.04")
    pool_vm_size: str = _option("Size of the machines, where a rule has no resource vm_size.", "Standard_D2ds_v5")
    pool_node_count: int = _option("Dedicated nodes of a size, at most.", 1)
    pool_spot_node_count: int = _option("Spot nodes of a size, at most; dedicated ones replace what is not there.", 0)
    tasks_per_node: int = _option("Tasks that run at once on a node.", 1)
    node_fill_type: str = _option("Pack: fill a node before the next one gets a task; or Spread.", "Spread")
    keep_pool: bool = _option("Leave pools and their jobs at the end of the run.", False)
    task_log: Optional[str] = _option("File that gets a line for each task that has ended: its node, and its times.")

    def __post_init__(self) -> None:
        for setting in fields(self):
            if setting.metadata["env_var"] and getattr(self, setting.name) is None:
                setattr(self, setting.name, os.environ.get(f"{VARIABLES}{setting.name.upper()}"))

    @property
    def account_name(self) -> str:
        """The Batch account, by its address."""
        return urlsplit(self.account_url).netloc.partition(".")[0]
