"""The stand-in of Batch refuses what the service refuses: each of these it once took."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from azure.identity import ManagedIdentityCredential

from azure_contract.bodies import API_VERSION
from azure_emulator import subscription as names
from azure_emulator.service import EmulatedAzure
from batch_clients import IMAGE, right_pool

ACCOUNT = f"{names.GROUP_PATH}/providers/Microsoft.Batch/batchAccounts/{names.BATCH_ACCOUNT}"
TASK = {"id": "task", "commandLine": "true", "containerSettings": {"imageName": IMAGE}}
Body = dict[str, Any]


class Raw:
    """Sends what the clients would not."""

    def __init__(self) -> None:
        hosts = {"batch": ("batch.core.windows.net", names.BATCH_HOST), "management": (names.MANAGEMENT_HOST,) * 2}
        self._hosts = {kind: host for kind, (_, host) in hosts.items()}
        login = ManagedIdentityCredential()
        self._tokens = {kind: login.get_token(f"https://{scope}/.default").token for kind, (scope, _) in hosts.items()}

    def send(self, kind: str, method: str, path: str, body: object = None, **query: str) -> requests.Response:
        """Send a request; `query` may take the version's place."""
        form = "application/json; odata=minimalmetadata" if kind == "batch" else "application/json"
        return requests.request(
            method,
            f"https://{self._hosts[kind]}{path}",
            params={"api-version": API_VERSION} | {key.replace("_", "$"): value for key, value in query.items()},
            data=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self._tokens[kind]}", "Content-Type": form},
            timeout=20,
        )

    def pool(self, body: Body, name: str = "other") -> requests.Response:
        return self.send("management", "PUT", f"{ACCOUNT}/pools/{name}", body)

    def job(self, body: Body) -> requests.Response:
        return self.send("batch", "POST", "/jobs", body)

    def task(self, body: Body) -> requests.Response:
        return self.send("batch", "POST", "/jobs/job/tasks", body)


@pytest.fixture
def raw(azure: EmulatedAzure) -> Iterator[Raw]:
    """What sends requests; there are a pool of containers, `pool`, and a job, `job`."""
    sender = Raw()
    assert sender.pool(right_pool(containers=True), "pool").status_code == 200
    assert sender.job({"id": "job", "poolInfo": {"poolId": "pool"}}).status_code == 201
    yield sender


def said(answer: requests.Response) -> str:
    """Status, code and message of a refusal."""
    value = answer.json()
    inner = value.get("error", value)
    message = inner["message"]["value"] if isinstance(inner["message"], dict) else inner["message"]
    return f"{answer.status_code} {inner['code']} {message}"


def test_calls_of_other_versions(raw: Raw) -> None:
    for version in ("1999-01-01", "2024-02-01.19.0", ""):
        answer = raw.send("batch", "GET", "/pools", **{"api-version": version})
        assert said(answer).startswith("400 UnsupportedRequestVersion api-version")
        answer = raw.send("management", "GET", ACCOUNT, **{"api-version": version})
        assert said(answer).startswith("400 UnsupportedRequestVersion api-version")


def autoscale(formula: str, interval: str = "PT5M") -> Callable[[Body], object]:
    scale = {"autoScale": {"formula": formula, "evaluationInterval": interval}}
    return lambda p: p.update(scaleSettings=scale)


def machine(pool: Body) -> Body:
    return pool["deploymentConfiguration"]["virtualMachineConfiguration"]


POOLS: list[tuple[str, Callable[[Body], object], str]] = [
    ("no machines", lambda p: p.pop("deploymentConfiguration"), "400 MissingRequiredProperty deploymentConfiguration"),
    ("an unknown image", lambda p: machine(p)["imageReference"].update(sku="9999"), "no such image is supported"),
    ("another agent", lambda p: machine(p).update(nodeAgentSkuId="batch.node.windows amd64"), "the image wants"),
    ("an unknown property", lambda p: p.update(targetNodeCommunicationMode="Simplified"), "no property of PoolPropert"),
    (
        "an enumeration",
        lambda p: p.update(taskSchedulingPolicy={"nodeFillType": "sideways"}),
        "is none of Spread, Pack",
    ),
    ("too many slots", lambda p: p.update(taskSlotsPerNode=1000), "a node of Standard_D2ds_v5 has 1 to 8"),
    ("no slots", lambda p: p.update(taskSlotsPerNode=0), "a node of Standard_D2ds_v5 has 1 to 8"),
    ("no scale", lambda p: p.update(scaleSettings={}), "one of fixedScale and autoScale"),
    ("a short interval", autoscale("$TargetDedicatedNodes = 1;", "PT1M"), "five minutes to a week"),
    ("a long interval", autoscale("$TargetDedicatedNodes = 1;", "P8D"), "five minutes to a week"),
    ("a long formula", autoscale("$TargetDedicatedNodes = 1; //" + "x" * 8192), "more than 8192 bytes"),
    ("many statements", autoscale("a = 1;" * 101), "more than 100 statements"),
    ("an unknown size", lambda p: p.update(vmSize="Standard_X1"), "vmSize Standard_X1"),
    (
        "user and identity",
        lambda p: machine(p)["containerConfiguration"].update(containerRegistries=[{"registryServer": "r.io"}]),
        "an identity, or user and password",
    ),
    (
        "another's identity",
        lambda p: machine(p)["containerConfiguration"].update(
            containerRegistries=[{"identityReference": {"resourceId": names.IDENTITY}}]
        ),
        "the identity is none of the pool's",
    ),
]


@pytest.mark.parametrize(("change", "says"), [p[1:] for p in POOLS], ids=[p[0] for p in POOLS])
def test_pools_that_it_cannot_make(raw: Raw, change: Callable[[Body], object], says: str) -> None:
    pool = right_pool(containers=True)
    change(pool["properties"])
    assert says in said(raw.pool(pool))


@pytest.mark.parametrize("name", ["a.b", "p" * 65])
def test_a_name_of_other_characters_or_too_long(raw: Raw, name: str) -> None:
    assert "letters, digits, - and _, 64 at most" in said(raw.pool(right_pool(), name))
    assert "letters, digits" in said(raw.job({"id": name, "poolInfo": {"poolId": "pool"}}))
    assert "letters, digits" in said(raw.task(TASK | {"id": name}))


def test_an_identity_that_is_not_there(raw: Raw) -> None:
    other = names.IDENTITY.replace("nodes", "other")
    pool = right_pool() | {"identity": {"type": "UserAssigned", "userAssignedIdentities": {other: {}}}}
    assert f"there is no identity {other}" in said(raw.pool(pool))


def test_names_that_differ_by_case_alone(raw: Raw) -> None:
    assert said(raw.pool(right_pool(), "POOL")).startswith("409 PoolExists")
    assert said(raw.job({"id": "JOB", "poolInfo": {"poolId": "pool"}})).startswith("409 JobExists")
    assert raw.task(TASK).status_code == 201
    assert said(raw.task(TASK | {"id": "Task"})).startswith("409 TaskExists")


def test_jobs_with_what_nobody_knows(raw: Raw) -> None:
    job = {"id": "j", "poolInfo": {"poolId": "pool"}}
    assert "onAllTasksDone: no property" in said(raw.job(job | {"onAllTasksDone": "stop"}))
    assert "letters, digits" in said(raw.job(job | {"id": "j j/"}))


TASKS: list[tuple[str, Callable[[Body], object], str]] = [
    ("no container", lambda t: t.pop("containerSettings"), "a task has them if, and only if, its pool has"),
    ("no command", lambda t: t.pop("commandLine"), "commandLine: is required"),
    ("an empty command", lambda t: t.update(commandLine=" "), "400 MissingRequiredProperty commandLine"),
    ("a scope", lambda t: t.update(userIdentity={"autoUser": {"scope": "moon"}}), "'moon' is none of task, pool"),
    ("too many slots", lambda t: t.update(requiredSlots=99), "a node of the pool has 2"),
    ("no time", lambda t: t.update(constraints={"maxWallClockTime": "soon"}), "'soon' is no timedelta"),
    ("endless time", lambda t: t.update(constraints={"maxWallClockTime": "P181D"}), "maxWallClockTime P181D"),
    (
        "a variable twice",
        lambda t: t.update(environmentSettings=[{"name": "A", "value": "b"}] * 2),
        "a name is empty, or there twice",
    ),
]


@pytest.mark.parametrize(("change", "says"), [t[1:] for t in TASKS], ids=[t[0] for t in TASKS])
def test_tasks_that_it_cannot_run(raw: Raw, change: Callable[[Body], object], says: str) -> None:
    task = copy.deepcopy(TASK)
    change(task)
    assert says in said(raw.task(task))
    assert raw.send("batch", "GET", "/jobs/job/tasks").json() == {"value": []}


def test_a_container_in_a_pool_without(raw: Raw) -> None:
    assert raw.pool(right_pool(), "bare").status_code == 200
    assert raw.job({"id": "bare", "poolInfo": {"poolId": "bare"}}).status_code == 201
    assert "if, and only if, its pool has" in said(raw.send("batch", "POST", "/jobs/bare/tasks", TASK))


def test_a_query_that_nobody_knows(raw: Raw) -> None:
    assert "'nonsense' is no property" in said(raw.send("batch", "GET", "/jobs/job/tasks", _select="id,nonsense"))
    assert said(raw.send("batch", "GET", "/pools", colour="red")) == "400 UnsupportedQueryParameter colour"


def test_a_body_of_another_kind(raw: Raw) -> None:
    answer = raw.send("batch", "GET", "/pools", {})
    assert "list pools has no body" in said(answer)
    assert "'text' is no BatchJobCreateOptions" in said(raw.send("batch", "POST", "/jobs", "text"))


def test_quotas_count_over_all_pools(azure: EmulatedAzure, raw: Raw) -> None:
    """Pool, jobs; cores of all, of a family, of spot nodes."""
    quota = azure.management.quota
    quota |= {"poolQuota": 6, "activeJobAndJobScheduleQuota": 1, "dedicatedCoreQuota": 8, "lowPriorityCoreQuota": 4}
    assert said(raw.job({"id": "more", "poolInfo": {"poolId": "pool"}})).startswith(
        "409 ActiveJobAndScheduleQuotaReached"
    )
    asked = {  # beside `pool`, with its 4 cores
        "two": (right_pool(nodes=2), None),
        "more": (right_pool(nodes=1), "AccountCoreQuotaReached"),
        "spot": (right_pool(nodes=0, spot=2), None),
        "more-spot": (right_pool(nodes=0, spot=1), "AccountLowPriorityCoreQuotaReached"),
        "family": (right_pool("Standard_E8ds_v5", nodes=1), "AccountCoreQuotaReached"),
    }
    for name, (pool, code) in asked.items():
        assert raw.pool(pool, name).status_code == 200
        errors = raw.send("batch", "GET", f"/pools/{name}").json().get("resizeErrors")
        assert (errors and errors[0]["code"]) == code, name
    assert said(raw.pool(right_pool(), "seventh")).startswith("409 PoolQuotaReached")
    quota["dedicatedCoreQuota"] = 400
    assert raw.send("batch", "DELETE", "/pools/family").status_code == 202
    assert raw.pool(asked["family"][0], "family").status_code == 200
    (error,) = raw.send("batch", "GET", "/pools/family").json()["resizeErrors"]
    assert error["code"] == "AccountVMSeriesCoreQuotaReached"
