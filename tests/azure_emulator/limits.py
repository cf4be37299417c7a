"""What no schema holds: names, sizes of pools, images, formulas, slots, quotas.

https://learn.microsoft.com/azure/batch/batch-quota-limit, …/batch-automatic-scaling, and the descriptions of
properties in the models of azure-batch and azure-mgmt-batch. Codes are those of
https://learn.microsoft.com/rest/api/batchservice/batch-status-and-error-codes, where a refusal has one there.
"""

import re
from collections.abc import Iterable
from datetime import timedelta

import isodate

from azure_emulator import subscription as names
from azure_emulator.exchange import ServiceError
from azure_emulator.tasks import Cluster, Pool

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
SLOTS_A_CORE, MOST_SLOTS = 4, 256
SHORTEST_INTERVAL, LONGEST_INTERVAL = timedelta(minutes=5), timedelta(hours=168)
LONGEST_WALL_CLOCK = timedelta(days=180)


def refuse(problem: str, code: str = "InvalidPropertyValue", status: int = 400) -> ServiceError:
    """Return the refusal of a value."""
    return ServiceError(status, code, problem)


def check_name(kind: str, name: str, taken: Iterable[str]) -> None:
    """Refuse a name of other characters or lengths, and one that is taken in whatever case."""
    if not NAME.fullmatch(name):
        raise refuse(f"{kind} id {name!r}: letters, digits, - and _, 64 at most")
    if name.lower() in {other.lower() for other in taken}:
        raise refuse(f"The specified {kind.lower()} already exists.", f"{kind}Exists", 409)


def check_pool(properties: dict, identity: dict | None, images: list[tuple]) -> None:
    """Refuse a pool that the service cannot make."""
    size = properties.get("vmSize")
    known = {name.lower(): name for name in names.VM_SIZES}
    if size is None or size.lower() not in known:
        raise refuse(f"vmSize {size}")
    slots = properties.get("taskSlotsPerNode", 1)
    most = min(SLOTS_A_CORE * names.VM_SIZES[known[size.lower()]][1], MOST_SLOTS)
    if not 1 <= slots <= most:
        raise refuse(f"taskSlotsPerNode {slots}: a node of {size} has 1 to {most}")
    machine = properties.get("deploymentConfiguration", {}).get("virtualMachineConfiguration")
    if machine is None:
        raise refuse("deploymentConfiguration.virtualMachineConfiguration", "MissingRequiredProperty")
    _check_image(machine, images)
    _check_identities(machine, identity)
    _check_scale(properties.get("scaleSettings"))


def _check_image(machine: dict, images: list[tuple]) -> None:
    reference = machine["imageReference"]
    wanted = tuple(reference.get(part) for part in ("publisher", "offer", "sku"))
    agents = {tuple(image[:3]): image[3] for image in images}
    if wanted not in agents:
        raise refuse(f"imageReference {wanted}: no such image is supported")
    if machine["nodeAgentSkuId"] != agents[wanted]:
        raise refuse(f"nodeAgentSkuId {machine['nodeAgentSkuId']!r}: the image wants {agents[wanted]!r}")


def _check_identities(machine: dict, identity: dict | None) -> None:
    of_pool = set((identity or {}).get("userAssignedIdentities") or {})
    if unknown := of_pool - {names.IDENTITY}:
        raise refuse(f"there is no identity {unknown.pop()}")
    for registry in machine.get("containerConfiguration", {}).get("containerRegistries") or []:
        reference = registry.get("identityReference")
        if (reference is None) != ("username" in registry and "password" in registry):
            raise refuse("containerRegistries: an identity, or user and password")
        if reference is not None and reference.get("resourceId") not in of_pool:
            raise refuse("containerRegistries: the identity is none of the pool's")


def _check_scale(settings: dict | None) -> None:
    if not settings or len(settings) != 1:
        raise refuse("scaleSettings: one of fixedScale and autoScale")
    if (interval := settings.get("autoScale", {}).get("evaluationInterval")) is not None:
        seconds = isodate.parse_duration(interval)
        if not SHORTEST_INTERVAL <= seconds <= LONGEST_INTERVAL:
            raise refuse(f"evaluationInterval {interval}: five minutes to a week")


def check_quota(what: str, asked: int, used: int, quota: int | None, code: str) -> None:
    """Refuse what is beyond a quota."""
    if quota is not None and used + asked > quota:
        raise refuse(f"The specified account has reached {what} quota {quota}", code, 409)


def cores_beyond(cluster: Cluster, pool: Pool, quota: dict) -> dict | None:
    """Return the resize error of a pool whose cores, with those of all others, are beyond the account's quotas."""
    pools = [pool, *(other for other in cluster.pools.values() if other is not pool)]
    family = names.VM_SIZES[pool.size][0]
    limits = {entry["name"].lower(): entry["coreQuota"] for entry in quota["dedicatedCoreQuotaPerVMFamily"]}
    dedicated, spot = sum(p.dedicated_cores for p in pools), sum(p.spot_cores for p in pools)
    of_family = sum(p.dedicated_cores for p in pools if names.VM_SIZES[p.size][0] == family)
    if quota["dedicatedCoreQuota"] is None:  # the subscription's count
        return None
    if pool.dedicated_cores and dedicated > quota["dedicatedCoreQuota"]:
        return _resize_error("AccountCoreQuotaReached", "The specified account has reached core quota")
    enforced = quota["dedicatedCoreQuotaPerVMFamilyEnforced"]
    if pool.dedicated_cores and enforced and of_family > limits.get(family.lower(), 0):
        return _resize_error("AccountVMSeriesCoreQuotaReached", f"The account has reached the quota of {family}")
    if pool.spot_cores and spot > quota["lowPriorityCoreQuota"]:
        return _resize_error("AccountLowPriorityCoreQuotaReached", "The account has reached low priority core quota")
    return None


def _resize_error(code: str, message: str) -> dict:
    return {"code": code, "message": message, "values": []}


def check_task(task: dict, pool: Pool) -> None:
    """Refuse a task that its pool cannot run."""
    if not task["commandLine"].strip():
        raise refuse("commandLine", "MissingRequiredProperty")
    if pool.has_containers != ("containerSettings" in task):
        raise refuse("containerSettings: a task has them if, and only if, its pool has a containerConfiguration")
    if not 1 <= task.get("requiredSlots", 1) <= pool.slots_per_node:
        raise refuse(f"requiredSlots {task['requiredSlots']}: a node of the pool has {pool.slots_per_node}")
    limit = task.get("constraints", {}).get("maxWallClockTime")
    if limit is not None and not timedelta(0) < isodate.parse_duration(limit) <= LONGEST_WALL_CLOCK:
        raise refuse(f"constraints.maxWallClockTime {limit}")
    settings = [setting["name"] for setting in task.get("environmentSettings", [])]
    if len(settings) != len(set(settings)) or "" in settings:
        raise refuse("environmentSettings: a name is empty, or there twice")
