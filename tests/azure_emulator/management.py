"""management.azure.com: the Batch account and its quota, the sizes of machines, and pools."""

from datetime import UTC, datetime, timedelta

from azure_emulator import subscription as names
from azure_emulator.autoscale import nodes_asked
from azure_emulator.exchange import Answer, Request, Routes, ServiceError, route
from azure_emulator.login import check_token
from azure_emulator.tasks import Cluster

ACCOUNT = r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Batch/batchAccounts/([^/]+)"


class Management:
    """Answers for the subscription; pools that it is asked for stand in the cluster at once.

    `quota` may be changed by tests: the Batch account's quota, as the service's JSON names it.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.quota = dict(names.QUOTA)
        skus = r"/subscriptions/([^/]+)/providers/Microsoft\.Batch/locations/([^/]+)/virtualMachineSkus"
        self._routes: Routes = [
            ("GET", ACCOUNT, self._get_account),
            ("PUT", rf"{ACCOUNT}/pools/([^/]+)", self._put_pool),
            ("GET", skus, self._list_vm_sizes),
        ]

    def answer(self, request: Request) -> Answer:
        """Answer a request with a token for the management of resources.

        Raises:
            ServiceError: as the real service would refuse it, or what is asked is not emulated.
        """
        check_token(request)
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
        properties = asked["properties"]
        size = properties["vmSize"]
        if size not in names.VM_SIZES:
            raise ServiceError(400, "InvalidPropertyValue", f"vmSize {size}")
        _check_communication(properties)
        nodes, formula = _scale(properties["scaleSettings"])
        within_quota = names.VM_SIZES[size][1] * nodes <= self.quota["dedicatedCoreQuota"]
        added = self._cluster.add_pool(pool, size, nodes, properties.get("taskSlotsPerNode", 1), within_quota)
        added.formula, added.metadata = formula, properties.get("metadata") or []
        return Answer.of_json({"id": request.path, "name": pool, **asked})

    def _list_vm_sizes(self, request: Request, subscription: str, location: str) -> Answer:
        self._check(subscription)
        value = [
            {"name": size, "familyName": family, "capabilities": [{"name": "vCPUs", "value": str(cores)}]}
            for size, (family, cores) in names.VM_SIZES.items()
            if location == names.REGION
        ]
        return Answer.of_json({"value": value})


def _check_communication(properties: dict) -> None:
    """Refuse what the service no longer does, or cannot make sense of."""
    if properties.get("targetNodeCommunicationMode", "Default") not in ("Default", "Simplified"):
        raise ServiceError(400, "InvalidPropertyValue", "targetNodeCommunicationMode: the classic mode has ended")
    machine = properties.get("deploymentConfiguration", {}).get("virtualMachineConfiguration", {})
    for registry in machine.get("containerConfiguration", {}).get("containerRegistries") or []:
        if ("identityReference" in registry) == ("username" in registry or "password" in registry):
            raise ServiceError(400, "InvalidPropertyValue", "containerRegistries: an identity, or user and password")


def _scale(settings: dict) -> tuple[int, str]:
    """Return how many nodes a new pool gets, and its formula, if it has one."""
    if "fixedScale" in settings:
        return settings["fixedScale"].get("targetDedicatedNodes", 0), ""
    formula = settings["autoScale"]["formula"]
    try:
        return nodes_asked(formula, datetime.now(UTC), timedelta(), 0), formula
    except ValueError as error:
        raise ServiceError(400, "AutoScalingFormulaEvaluationError", str(error)) from error
