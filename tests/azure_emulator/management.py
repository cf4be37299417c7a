"""management.azure.com: the Batch account and its quota, the sizes of machines, and pools."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from azure_emulator import contract, limits
from azure_emulator import subscription as names
from azure_emulator.autoscale import Asked, nodes_asked
from azure_emulator.exchange import Answer, Request, Routes, ServiceError, route
from azure_emulator.login import check_token
from azure_emulator.tasks import Cluster

ACCOUNT = r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Batch/batchAccounts/([^/]+)"


class Management:
    """Answers for the subscription; pools that it is asked for stand in the cluster at once.

    `images` says which pools may start from. Tests may change `quota`, the Batch account's as the service's JSON names
    it, `unregistered` providers, and `budgets`.
    """

    def __init__(self, cluster: Cluster, images: Callable[[], list[tuple]]) -> None:
        self._cluster, self._images = cluster, images
        self.quota = dict(names.QUOTA)
        self.unregistered: set[str] = set()
        self.budgets: list[dict] = []
        skus = r"/subscriptions/([^/]+)/providers/Microsoft\.Batch/locations/([^/]+)/virtualMachineSkus"
        self._routes: Routes = [
            ("GET", ACCOUNT, self._get_account),
            ("PUT", rf"{ACCOUNT}/pools/([^/]+)", self._put_pool),
            ("GET", skus, self._list_vm_sizes),
            ("GET", r"/subscriptions/([^/]+)/providers/([^/]+)", self._get_provider),
            ("GET", names.IDENTITY, self._get_identity),
            ("GET", rf"{names.GROUP_PATH}/providers/Microsoft\.Consumption/budgets", self._list_budgets),
        ]

    def answer(self, request: Request) -> Answer:
        """Answer a request with a token for the management of resources.

        Raises:
            ServiceError: as the real service would refuse it, or what is asked is not emulated.
        """
        check_token(request)
        contract.check(request)
        return route(self._routes, request)

    def _check(self, subscription: str, group: str | None = None, account: str | None = None) -> None:
        if subscription != names.SUBSCRIPTION:
            raise ServiceError(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
        if group not in (None, names.RESOURCE_GROUP):
            raise ServiceError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        if account not in (None, names.BATCH_ACCOUNT):
            raise ServiceError(404, "ResourceNotFound", f"The resource '{account}' was not found.")

    def _get_account(self, request: Request, subscription: str, group: str, account: str) -> Answer:
        self._check(subscription, group, account)
        properties = {"accountEndpoint": names.BATCH_HOST, "provisioningState": "Succeeded", **self.quota}
        properties["allowedAuthenticationModes"] = ["AAD", "TaskAuthenticationToken"]
        value = {"id": request.path, "name": account, "location": names.REGION, "properties": properties}
        return Answer.of_json(value)

    def _put_pool(self, request: Request, subscription: str, group: str, account: str, pool: str) -> Answer:
        self._check(subscription, group, account)
        asked = request.json()
        properties = asked.get("properties") or {}
        if pool in self._cluster.pools:  # asked for again, as after an answer that got lost
            return Answer.of_json({"id": request.path, "name": pool, **asked})
        limits.check_name("Pool", pool, self._cluster.pools)
        limits.check_pool(properties, asked.get("identity"), self._images())
        limits.check_quota("pool", 1, len(self._cluster.pools), self.quota["poolQuota"], "PoolQuotaReached")
        nodes, formula = _scale(properties["scaleSettings"])
        slots = properties.get("taskSlotsPerNode", 1)
        size = next(size for size in names.VM_SIZES if size.lower() == properties["vmSize"].lower())
        added = self._cluster.add_pool(pool, size, nodes, slots)
        added.formula, added.metadata = formula, properties.get("metadata") or []
        machine = properties["deploymentConfiguration"]["virtualMachineConfiguration"]
        added.has_containers = "containerConfiguration" in machine
        if error := limits.cores_beyond(self._cluster, added, self.quota):
            added.refuse_nodes(error)
        return Answer.of_json({"id": request.path, "name": pool, **asked})

    def _get_provider(self, request: Request, subscription: str, provider: str) -> Answer:
        self._check(subscription)
        state = "NotRegistered" if provider in self.unregistered else "Registered"
        return Answer.of_json({"namespace": provider, "registrationState": state})

    def _get_identity(self, request: Request) -> Answer:
        properties = {"clientId": names.IDENTITY_CLIENT_ID, "tenantId": names.TENANT}
        return Answer.of_json({"id": names.IDENTITY, "location": names.REGION, "properties": properties})

    def _list_budgets(self, request: Request) -> Answer:
        return Answer.of_json({"value": self.budgets})

    def _list_vm_sizes(self, request: Request, subscription: str, location: str) -> Answer:
        self._check(subscription)
        value = [
            {"name": size, "familyName": family, "capabilities": [{"name": "vCPUs", "value": str(cores)}]}
            for size, (family, cores) in names.VM_SIZES.items()
            if location == names.REGION
        ]
        return Answer.of_json({"value": value})


def _scale(settings: dict) -> tuple[Asked, str]:
    """Return how many nodes a new pool gets, and its formula, if it has one."""
    if "fixedScale" in settings:
        fixed = settings["fixedScale"]
        return Asked(fixed.get("targetDedicatedNodes", 0), fixed.get("targetLowPriorityNodes", 0)), ""
    formula = settings["autoScale"]["formula"]
    try:
        return nodes_asked(formula, datetime.now(UTC), timedelta(), {}), formula
    except ValueError as error:
        raise ServiceError(400, "AutoScalingFormulaEvaluationError", str(error)) from error
