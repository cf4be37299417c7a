"""What Microsoft's models and types say of the requests that record.py recorded, and of wrong ones."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azure_contract.bodies import CALLS, call_of, faults_of_body, faults_of_query
from azure_contract.judge import faults_of_pool, judge
from azure_contract.published import body_of, deviations

RECORDED = Path(os.environ["AZURE_RECORDED"])
REQUESTS = (RECORDED / "requests.jsonl").read_text().splitlines()
JOBS = json.loads((RECORDED / "jobs.json").read_text())
JOB = "Microsoft.MachineLearningServices/workspaces/jobs"
Body = dict[str, Any]


def recorded(name: str) -> Body:
    """The first body of a call."""
    call = next(call for calls in CALLS.values() for call in calls if call.name == name)
    for line in map(json.loads, REQUESTS):
        if call.fits(line["method"], line["target"].partition("?")[0]) and 200 <= line["status"] < 300:
            return json.loads(line["body"])
    raise AssertionError(f"no {name} was recorded")


def test_no_request_differs_from_the_interface() -> None:
    calls, found = judge(REQUESTS)
    assert found == []
    # All that the executor and the doctor do.
    assert set(calls) == {call.name for calls in CALLS.values() for call in calls} - {"get job", "get task", "end task"}


def test_what_was_recorded_has_what_there_is_to_judge() -> None:
    lines = [json.loads(line) for line in REQUESTS]
    tasks = [json.loads(r["body"]) for r in lines if r["target"].partition("?")[0].endswith("/tasks") and r["body"]]
    assert any("constraints" in task for task in tasks) and all("containerSettings" in task for task in tasks)
    assert {"GREETING", "AZURE_CLIENT_ID"} <= {setting["name"] for setting in tasks[0]["environmentSettings"]}
    properties = recorded("put pool")["properties"]
    assert {"networkConfiguration", "scaleSettings", "metadata", "taskSchedulingPolicy"} <= properties.keys()


WRONG: list[tuple[str, str, Callable[[Body], object], str]] = [
    ("a name of a pool's", "put pool", lambda b: b["properties"].update(vmsize="x"), "vmsize: no property"),
    ("a type", "put pool", lambda b: b["properties"].update(taskSlotsPerNode="4"), "'4' is no int"),
    (
        "an enumeration in another case",
        "put pool",
        lambda b: b["properties"]["taskSchedulingPolicy"].update(nodeFillType="pack"),
        "'pack' is none of Spread, Pack",
    ),
    (
        "a property that is gone",
        "put pool",
        lambda b: b["properties"].update(targetNodeCommunicationMode="Simplified"),
        "targetNodeCommunicationMode: no property",
    ),
    (
        "a missing formula",
        "put pool",
        lambda b: b["properties"]["scaleSettings"]["autoScale"].pop("formula"),
        "required",
    ),
    (
        "no interval",
        "put pool",
        lambda b: b["properties"]["scaleSettings"]["autoScale"].update(evaluationInterval="5 minutes"),
        "'5 minutes' is no timedelta",
    ),
    (
        "what the service writes",
        "put pool",
        lambda b: b["properties"].update(currentDedicatedNodes=1),
        "only the service",
    ),
    (
        "an identity's kind",
        "put pool",
        lambda b: b["identity"].update(type="userAssigned"),
        "'userAssigned' is none of",
    ),
    (
        "metadata without a value",
        "put pool",
        lambda b: b["properties"]["metadata"][0].pop("value"),
        "value: is required",
    ),
    (
        "a kind of container",
        "put pool",
        lambda b: b["properties"]["deploymentConfiguration"]["virtualMachineConfiguration"][
            "containerConfiguration"
        ].update(type="docker"),
        "'docker' is none of DockerCompatible",
    ),
    ("a job without a pool", "add job", lambda b: b.pop("poolInfo"), "poolInfo: is required"),
    ("a job's name", "add job", lambda b: b.update(id=7), "7 is no str"),
    ("a job's retries", "add job", lambda b: b["constraints"].update(maxTaskRetryCount=True), "True is no int"),
    ("a task without a command", "add task", lambda b: b.pop("commandLine"), "commandLine: is required"),
    ("a task's name for it", "add task", lambda b: b.update(command_line="x"), "command_line: no property"),
    (
        "a scope",
        "add task",
        lambda b: b["userIdentity"]["autoUser"].update(scope="moon"),
        "'moon' is none of task, pool",
    ),
    (
        "a container without image",
        "add task",
        lambda b: b["containerSettings"].pop("imageName"),
        "imageName: is required",
    ),
    ("a time", "add task", lambda b: b.update(constraints={"maxWallClockTime": "soon"}), "'soon' is no timedelta"),
    ("a variable", "add task", lambda b: b["environmentSettings"].append("A=b"), "'A=b' is no EnvironmentSetting"),
    ("a list", "add task", lambda b: b.update(environmentSettings={"A": "b"}), "is no list"),
]


@pytest.mark.parametrize(("call", "change", "says"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_wrong_body_is_found(call: str, change: Callable[[Body], object], says: str) -> None:
    body = copy.deepcopy(recorded(call))
    change(body)
    (found,) = faults_of_body(next(c for calls in CALLS.values() for c in calls if c.name == call), body)
    assert says in found


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("api-version=2024-02-01.19.0", "'2024-02-01.19.0' is not 2025-06-01"),
        ("", "None is not 2025-06-01"),
        ("api-version=2025-06-01&$select=id,nonsense", "'nonsense' is no property of what list tasks answers"),
    ],
)
def test_a_wrong_query_is_found(query: str, says: str) -> None:
    target = f"/jobs/j/tasks?{query}"
    (found,) = faults_of_query(call_of("batch", "GET", target), target)
    assert says in found


def test_a_body_that_nobody_asked_for_is_found() -> None:
    assert faults_of_body(call_of("batch", "GET", "/pools"), {}) == ["list pools has no body"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.update(interNodeCommunication="on"), "'on' is none of"),
        (lambda p: p["taskSchedulingPolicy"].clear(), "nodeFillType: is required"),
        (lambda p: p.update(deployment={}), "deployment: no property"),
        (lambda p: p.update(scaleSettings=[]), "[] is no object"),
    ],
)
def test_a_pool_beyond_its_published_type_is_found(change: Callable[[Body], object], says: str) -> None:
    pool = copy.deepcopy(recorded("put pool"))
    assert faults_of_pool("pool", pool) == []
    change(pool["properties"])
    assert says in "; ".join(faults_of_pool("pool", pool))


@pytest.mark.parametrize(("name", "says"), [("a.b", "does not match"), ("p" * 65, "is not within 1 and 64")])
def test_a_name_that_no_pool_may_have_is_found(name: str, says: str) -> None:
    assert says in "; ".join(faults_of_pool(name, recorded("put pool")))


def faults_of_job(properties: Body) -> list[str]:
    types, kind = body_of(JOB, "2025-06-01")
    return deviations(types, kind["properties"]["properties"]["type"], properties)


def test_no_job_differs_from_its_published_type() -> None:
    assert len(JOBS) == 3
    assert {name: faults_of_job(job["properties"]) for name, job in JOBS.items()} == {name: [] for name in JOBS}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda j: j.update(jobType="command"), "jobType: 'command' is none of Command"),
        (lambda j: j.pop("environmentId"), "environmentId: is required"),
        (lambda j: j["resources"].update(shmSize="64 GB"), "does not match"),
        (lambda j: j["resources"].update(instanceCount="2"), "'2' is no int"),
        (lambda j: j["distribution"].update(distributionType="pytorch"), "'pytorch' is none of PyTorch"),
        (lambda j: j["outputs"]["output"].update(mode="rw_mount"), "'rw_mount' is none of"),
        (lambda j: j["inputs"]["data"].update(path="./data"), "path: no property"),
        (lambda j: j["identity"].update(identityType="managed"), "'managed' is none of"),
        (lambda j: j.update(limits={"jobLimitsType": "Command", "timeOut": "PT1H"}), "timeOut: no property"),
    ],
)
def test_a_wrong_job_is_found(change: Callable[[Body], object], says: str) -> None:
    job = copy.deepcopy(JOBS["as shipped"]["properties"])
    change(job)
    assert says in "; ".join(faults_of_job(job))
