"""Check the Batch account: that it exists, its quota, and its nodes' image, against what the profile asks."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from pretrain_llama.checklist import Failed, Passed, Report, Unknown
from pretrain_llama.doctor.login import explain, status_and_code
from pretrain_llama.doctor.profile import Pool
from pretrain_llama.doctor.variables import Settings

ROLE = "Azure Batch Data Contributor"
RAISE_QUOTA = "ask for more in the portal, under the Batch account's quotas, or lower the profile's node count"
CHOOSE_IMAGE = "choose one from `az batch pool supported-images list`, in the profile's azurebatch-pool-image-… keys"
WARN_BEFORE = timedelta(days=90)


class Account:
    """The Batch account, through its management API (quotas) and its own service (images, pools)."""

    def __init__(self, settings: Settings, management_login: Any, batch_login: Any) -> None:
        from azure.batch import BatchClient
        from azure.mgmt.batch import BatchManagementClient

        self._group, self.host = settings.resource_group, urlsplit(settings.batch_url or "").netloc
        self.name = self.host.partition(".")[0]
        self._management = BatchManagementClient(management_login, settings.subscription, retry_total=1)
        self._service = BatchClient(settings.batch_url, batch_login, retry_total=1)

    def find(self) -> Passed:
        """Find the account in the subscription, and hold its address against the one in the environment."""
        from azure.core.exceptions import AzureError

        try:
            account = self._management.batch_account.get(self._group, self.name)
        except AzureError as error:
            if status_and_code(error)[0] == 404:
                raise Failed(
                    f"the subscription has no such account in the group {self._group} ({status_and_code(error)[1]})",
                    "correct the variables, or create it with envs/azure/main.bicep",
                ) from error
            raise explain(error, "Contributor on the Batch account") from error
        endpoint = account.properties.account_endpoint
        if endpoint != self.host:
            raise Failed("its address is another one", f"set the account URL to https://{endpoint}")
        return Passed(f"in {account.location}", account)

    def compare_cores(self, account: Any, pool: Pool) -> Passed:
        """Compare the cores that the pools need, added to those of existing pools, with the quota."""
        families = self._families(account)
        if missing := [size for size in pool.vm_sizes if size.lower() not in families]:
            raise Failed(f"{account.location} has no machines of size {missing[0]}", "choose another in the profile")
        quota = account.properties
        if quota.dedicated_core_quota is None:
            raise Unknown("the account's quota is the subscription's", "look at it in the portal: Quotas, Compute")
        used: Counter[str] = Counter()
        used_spot = 0
        for other in self._service.list_pools():
            family, cores = families.get(other.vm_size.lower(), ("", 0))
            used[family] += cores * (other.target_dedicated_nodes or 0)
            used_spot += cores * (other.target_low_priority_nodes or 0)
        of_family: Counter[str] = Counter()
        for size in pool.vm_sizes:
            family, cores = families[size.lower()]
            of_family[family] += pool.nodes * cores
        _check_quota("dedicated cores", of_family.total(), used.total(), quota.dedicated_core_quota)
        if quota.dedicated_core_quota_per_vm_family_enforced:
            limits = {entry.name.lower(): entry.core_quota for entry in quota.dedicated_core_quota_per_vm_family}
            for family, cores in of_family.items():
                _check_quota(f"cores of {family}", cores, used[family], limits.get(family.lower(), 0))
        spot = pool.spot_nodes * sum(families[size.lower()][1] for size in pool.vm_sizes)
        _check_quota("spot cores", spot, used_spot, quota.low_priority_core_quota)
        dedicated = f"{of_family.total()} of {quota.dedicated_core_quota} dedicated cores"
        return Passed(f"{dedicated} (spot: {spot} of {quota.low_priority_core_quota})")

    def _families(self, account: Any) -> dict[str, tuple[str, int]]:
        """The family and the cores of every size of machine; a role on the account alone does not let one ask.

        Sizes are in lower case: the service takes them in any, and may name a pool's otherwise than it was asked.
        """
        from azure.core.exceptions import AzureError

        try:
            sizes = self._management.location.list_supported_virtual_machine_skus(account.location)
            return {size.name.lower(): (size.family_name, _cores(size)) for size in sizes}
        except AzureError as error:
            if status_and_code(error)[0] != 403:
                raise
            quota = account.properties.dedicated_core_quota
            why = f"the login may not list the region's sizes of machines; the quota is {quota}"
            raise Unknown(why, "have the role Reader on the subscription, or count the cores by hand") from error

    def compare_pools(self, account: Any, pool: Pool) -> Passed:
        """Compare a run's pools, one for each size of machine, with the quota: every run creates its own."""
        pools = [_described(pool) for pool in self._service.list_pools()]
        quota = account.properties.pool_quota
        _check_quota("pools", len(pool.vm_sizes), len(pools), quota)
        return Passed(f"{len(pools)} of {quota} are there{': ' if pools else ''}{'; '.join(pools)}")

    def find_image(self, pool: Pool) -> Passed:
        """Find the machine's image among the supported ones; it must run containers, and be supported for a while."""
        for image in self._service.list_supported_images():
            reference = image.image_reference
            if (reference.publisher, reference.offer, reference.sku) == (pool.publisher, pool.offer, pool.sku):
                break
        else:
            raise Failed("the service does not support it", CHOOSE_IMAGE)
        end = image.batch_support_end_of_life
        if end is not None and end < datetime.now(UTC):
            raise Failed(f"its support ended on {end:%Y-%m-%d}", CHOOSE_IMAGE)
        if "DockerCompatible" not in (image.capabilities or []):
            raise Failed("it does not run containers", CHOOSE_IMAGE)
        soon = end is not None and end < datetime.now(UTC) + WARN_BEFORE
        until = "without an end in sight" if end is None else f"until {end:%Y-%m-%d}{', which is soon' if soon else ''}"
        return Passed(f"supported {until}", image)

    def compare_agent(self, image: Any, pool: Pool) -> Passed:
        """Compare the profile's node agent with the image's."""
        if image.node_agent_sku_id != pool.node_agent:
            raise Failed(
                f"the image wants {image.node_agent_sku_id!r}, the profile has {pool.node_agent!r}",
                "correct azurebatch-pool-vm-node-agent-sku-id in the profile",
            )
        return Passed(pool.node_agent)


def of(settings: Settings, management_login: Any, batch_login: Any) -> Account | None:
    """Return the account, or None where a variable or a login is missing."""
    needs = (settings.batch_url, settings.subscription, settings.resource_group, management_login, batch_login)
    return None if None in needs else Account(settings, management_login, batch_login)


def check_account(report: Report, account: Account | None) -> Any:
    """Check that the Batch account exists; return what the service says of it."""
    return report.check(f"Batch account {account.name if account else ''}".strip(), Account.find, account)


def check_quota(report: Report, account: Account | None, found: Any, pool: Pool | None) -> None:
    """Check the quota against the pools that a run creates."""
    report.check("cores", _explained(Account.compare_cores), account, found, pool)
    report.check("pools", _explained(Account.compare_pools), account, found, pool)


def check_machines(report: Report, account: Account | None, pool: Pool | None) -> None:
    """Check the machines' image and their node agent."""
    title = f"machine image {pool.image if pool else ''}".strip()
    image = report.check(title, _explained(Account.find_image), account, pool)
    report.check("node agent", Account.compare_agent, account, image, pool)


def _described(pool: Any) -> str:
    """A pool in words; a run's says who started it."""
    labels = {label.name: label.value for label in pool.metadata or []}
    started = f", started by {labels['started_by']}" if "started_by" in labels else ""
    return f"{pool.id} with {pool.current_dedicated_nodes} nodes{started}"


def _cores(size: Any) -> int:
    return next(int(entry.value) for entry in size.capabilities if entry.name == "vCPUs")


def _check_quota(what: str, needed: int, used: int, limit: int) -> None:
    if needed + used > limit:
        raise Failed(f"the profile asks for {needed} {what}, {used} are in use, the quota is {limit}", RAISE_QUOTA)


def _explained(check: Callable[..., Passed]) -> Callable[..., Passed]:
    def run(*needs: Any) -> Passed:
        from azure.core.exceptions import AzureError

        try:
            return check(*needs)
        except AzureError as error:
            raise explain(error, ROLE) from error

    return run
