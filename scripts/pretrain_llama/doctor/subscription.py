"""Check the subscription through its management API: its providers, the nodes' identity, a budget."""

from typing import Any

from pretrain_llama.checklist import Failed, Passed, Report, Unknown
from pretrain_llama.doctor.login import MANAGEMENT_SCOPE, explain, status_and_code
from pretrain_llama.doctor.variables import Settings

# What the template, the pools and a budget need, as docs/azure.md registers them.
PROVIDERS = (
    *("Microsoft.Batch", "Microsoft.Storage", "Microsoft.ContainerRegistry", "Microsoft.ManagedIdentity"),
    *("Microsoft.Authorization", "Microsoft.Compute", "Microsoft.Network", "Microsoft.Consumption"),
)
PROVIDERS_VERSION, IDENTITY_VERSION, BUDGETS_VERSION = "2021-04-01", "2023-01-31", "2023-05-01"
MANAGEMENT = "https://management.azure.com"
READER = "Reader on the subscription"


class Subscription:
    """Asks the management API for what no client in requirements.lock covers."""

    def __init__(self, settings: Settings, login: Any) -> None:
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, HeadersPolicy, RetryPolicy

        self._settings = settings
        policies = [HeadersPolicy(), RetryPolicy(retry_total=1), BearerTokenCredentialPolicy(login, MANAGEMENT_SCOPE)]
        self._client = PipelineClient(MANAGEMENT, policies=policies)

    def _get(self, path: str, version: str, role: str) -> dict[str, Any]:
        """Return what stands at a path.

        Raises:
            Failed: it is refused.
            Unknown: no answer came, or the login may not ask.
        """
        from azure.core.exceptions import AzureError
        from azure.core.rest import HttpRequest

        try:
            answer = self._client.send_request(HttpRequest("GET", MANAGEMENT + path, params={"api-version": version}))
            answer.raise_for_status()
        except AzureError as error:
            if status_and_code(error)[0] == 403:
                raise Unknown("the login may not ask", f"have the role {role}, or look in the portal") from error
            raise explain(error, role) from error
        return answer.json()

    def check_providers(self) -> Passed:
        """Ask whether each provider is registered."""
        for name in PROVIDERS:
            path = f"/subscriptions/{self._settings.subscription}/providers/{name}"
            state = self._get(path, PROVIDERS_VERSION, READER)["registrationState"]
            if state != "Registered":
                raise Failed(f"{name} is {state}", f"`az provider register --namespace {name} --wait`")
        return Passed(", ".join(PROVIDERS))

    def check_identity(self) -> Passed:
        """Compare the client id of the nodes' identity with the one in the environment."""
        identity = self._settings.identity or ""
        found = self._get(identity, IDENTITY_VERSION, "Managed Identity Operator on it")
        client_id = found["properties"]["clientId"]
        if client_id.lower() != (self._settings.identity_client or "").lower():
            name = "SNAKEMAKE_AZURE_BATCH_MANAGED_IDENTITY_CLIENT_ID"
            raise Failed("its client id is another one", f"export {name}={client_id}")
        return Passed(identity.rpartition("/")[2])

    def check_budget(self) -> Passed:
        """Name the budgets of the resource group."""
        group = f"/subscriptions/{self._settings.subscription}/resourceGroups/{self._settings.resource_group}"
        found = self._get(f"{group}/providers/Microsoft.Consumption/budgets", BUDGETS_VERSION, READER)["value"]
        names = [f"{budget['name']}, {budget['properties']['amount']:g}" for budget in found]
        return Passed("; ".join(names) or "none: nobody is told when money runs out; make one before a large run")


def of(settings: Settings, login: Any) -> Subscription | None:
    """Return the subscription, or None where a variable or the login is missing."""
    return None if None in (settings.subscription, settings.resource_group, login) else Subscription(settings, login)


def check_providers(report: Report, subscription: Subscription | None) -> None:
    """Check that the subscription knows what the template makes."""
    report.check("resource providers", Subscription.check_providers, subscription)


def check_identity(report: Report, settings: Settings, subscription: Subscription | None) -> None:
    """Check the nodes' identity."""
    needs = (settings.identity, settings.identity_client)
    report.check("identity of the nodes", Subscription.check_identity, None if None in needs else subscription)


def check_budget(report: Report, subscription: Subscription | None) -> None:
    """Look for a budget."""
    report.check("budget", Subscription.check_budget, subscription)
