"""Which model describes what: the bodies of requests to Batch and its management, and what they may select."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from azure.batch import models as batch
from azure.mgmt.batch import models as management

from azure_contract.models import deviations, properties_of

API_VERSION = "2025-06-01"
GROUP = "/subscriptions/[^/]+/resourceGroups/[^/]+/providers"
ARM = r"/subscriptions/[^/]+(/resourceGroups/[^/]+)?/providers/Microsoft\.Batch"


@dataclass(frozen=True)
class Call:
    """A call of the service: its name, method, path and version, and the models of its body and its answer, if any."""

    name: str
    method: str
    path: str
    body: type | None = None
    answer: type | None = None
    version: str = API_VERSION

    def fits(self, method: str, path: str) -> bool:
        """Tell whether a request is this call."""
        return method == self.method and re.fullmatch(self.path, path) is not None


CALLS = {
    "management": [
        Call("get account", "GET", rf"{ARM}/batchAccounts/[^/]+", answer=management.BatchAccount),
        Call("put pool", "PUT", rf"{ARM}/batchAccounts/[^/]+/pools/[^/]+", management.Pool, management.Pool),
        Call("get provider", "GET", r"/subscriptions/[^/]+/providers/[\w.]+", version="2021-04-01"),
        Call(
            "get identity",
            "GET",
            rf"{GROUP}/Microsoft\.ManagedIdentity/userAssignedIdentities/[^/]+",
            version="2023-01-31",
        ),
        Call("list budgets", "GET", rf"{GROUP}/Microsoft\.Consumption/budgets", version="2023-05-01"),
        Call("list sizes", "GET", rf"{ARM}/locations/[^/]+/virtualMachineSkus"),
    ],
    "batch": [
        Call("list images", "GET", "/supportedimages", answer=batch.BatchSupportedImage),
        Call("list pools", "GET", "/pools", answer=batch.BatchPool),
        Call("get pool", "GET", "/pools/[^/]+", answer=batch.BatchPool),
        Call("delete pool", "DELETE", "/pools/[^/]+"),
        Call("list nodes", "GET", "/pools/[^/]+/nodes", answer=batch.BatchNode),
        Call("add job", "POST", "/jobs", batch.BatchJobCreateOptions),
        Call("get job", "GET", "/jobs/[^/]+", answer=batch.BatchJob),
        Call("delete job", "DELETE", "/jobs/[^/]+"),
        Call("add task", "POST", "/jobs/[^/]+/tasks", batch.BatchTaskCreateOptions),
        Call("list tasks", "GET", "/jobs/[^/]+/tasks", answer=batch.BatchTask),
        Call("get task", "GET", "/jobs/[^/]+/tasks/[^/]+", answer=batch.BatchTask),
        Call("delete task", "DELETE", "/jobs/[^/]+/tasks/[^/]+"),
        Call("end task", "POST", "/jobs/[^/]+/tasks/[^/]+/terminate"),
        Call("get file", "GET", "/jobs/[^/]+/tasks/[^/]+/files/.+"),
    ],
}


def call_of(kind: str, method: str, target: str) -> Call | None:
    """Return the call that a request is; None if it is none that is known here."""
    return next((call for call in CALLS[kind] if call.fits(method, urlsplit(target).path)), None)


def faults_of_query(call: Call, target: str) -> list[str]:
    """Return what is wrong with the version and the selection of a request."""
    query = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
    found = []
    if query.get("api-version") != call.version:
        found.append(f"api-version: {query.get('api-version')!r} is not {call.version}")
    if "$select" in query:
        known = properties_of(call.answer) if call.answer else {}
        unknown = [name for name in query["$select"].split(",") if name not in known]
        found += [f"$select: {name!r} is no property of what {call.name} answers" for name in unknown]
    return found


def faults_of_body(call: Call, body: object) -> list[str]:
    """Return what is wrong with a body, None where there is none."""
    if call.body is None:
        return [] if body is None else [f"{call.name} has no body"]
    return deviations(call.body, body)
