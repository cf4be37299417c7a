"""Check the environment variables that a user fills in: that they are set, and look right.

A value that does not look right is never shown: it may be a secret that went into the wrong variable.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pretrain_llama.checklist import Failed, Passed, Report
from pretrain_llama.errors import OperatorError

UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
GROUP = r"[\w().-]{0,89}[\w()-]"
RESOURCE = rf"(?i:/subscriptions/{UUID}/resourceGroups/{GROUP}/providers/)"
# Containers: 3 to 63 lowercase letters, digits and single hyphens.
CONTAINER = r"(?=.{3,63}/)[a-z0-9]+(-[a-z0-9]+)*"
PRIVATE_REGISTRIES = ".azurecr.io"


@dataclass(frozen=True)
class Variable:
    """A variable's name, the pattern of its value, and the pattern in words."""

    name: str
    pattern: str
    looks_like: str
    optional: bool = False

    def read(self, environment: Mapping[str, str]) -> str | None:
        """Return the value, or None where an optional variable is not set.

        Raises:
            Failed: it is missing or malformed.
        """
        value = environment.get(self.name, "")
        if not value and self.optional:
            return None
        if not value:
            raise Failed("it is not set", f"export {self.name}, {self.looks_like}")
        if not re.fullmatch(self.pattern, value):
            raise Failed("its value does not look like one (and is not shown)", f"set it to {self.looks_like}")
        return value


STORAGE_ACCOUNT = Variable(
    "AZURE_STORAGE_ACCOUNT_NAME", r"[a-z0-9]{3,24}", "the storage account's name: 3 to 24 lowercase letters and digits"
)
STORE = Variable(
    "PRETRAIN_LLAMA_STORE",
    rf"az://{CONTAINER}(/[\w.=-]+)+",
    "where results lie: az://CONTAINER/PREFIX, without a slash at the end",
)
BATCH_URL = Variable(
    "SNAKEMAKE_AZURE_BATCH_ACCOUNT_URL",
    r"https://[a-z0-9]{3,24}\.[a-z0-9]+\.batch\.azure\.com",
    "the Batch account's address: https://ACCOUNT.REGION.batch.azure.com",
)
SUBSCRIPTION = Variable(
    "SNAKEMAKE_AZURE_BATCH_SUBSCRIPTION_ID", UUID, "the subscription's id: 8-4-4-4-12 hexadecimal digits"
)
RESOURCE_GROUP = Variable(
    "SNAKEMAKE_AZURE_BATCH_RESOURCE_GROUP_NAME", GROUP, "the name of the Batch account's resource group"
)
IDENTITY = Variable(
    "SNAKEMAKE_AZURE_BATCH_MANAGED_IDENTITY_RESOURCE_ID",
    RESOURCE + r"(?i:Microsoft\.ManagedIdentity/userAssignedIdentities)/[\w-]{3,128}",
    "the nodes' identity: /subscriptions/…/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME",
)
IDENTITY_CLIENT = Variable(
    "SNAKEMAKE_AZURE_BATCH_MANAGED_IDENTITY_CLIENT_ID",
    UUID,
    "the client id of the nodes' identity: 8-4-4-4-12 hexadecimal digits",
)
IMAGE = Variable(
    "PRETRAIN_LLAMA_IMAGE",
    r"[\w.-]+\.[\w.-]+(:\d+)?(/[a-z0-9._-]+)+(:[\w.-]{1,128}|@sha256:[0-9a-f]{64})",
    "the nodes' image, with a tag or digest: REGISTRY.azurecr.io/NAME:TAG",
)
REGISTRY = Variable(
    "SNAKEMAKE_AZURE_BATCH_CONTAINER_REGISTRY_URL",
    r"(https://)?[\w.-]+\.[\w.-]+(:\d+)?",
    "the image's registry: REGISTRY.azurecr.io",
    optional=True,
)
SUBNET = Variable(
    "SNAKEMAKE_AZURE_BATCH_POOL_SUBNET_ID",
    RESOURCE + r"(?i:Microsoft\.Network/virtualNetworks)/[\w.-]+/subnets/[\w.-]+",
    "the nodes' subnet: /subscriptions/…/providers/Microsoft.Network/virtualNetworks/NAME/subnets/NAME",
    optional=True,
)
VARIABLES = [STORAGE_ACCOUNT, STORE, BATCH_URL, SUBSCRIPTION, RESOURCE_GROUP, IDENTITY, IDENTITY_CLIENT, IMAGE, SUBNET]
# What the programs use instead of a login where it is set; a task never gets it.
CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"
SECRETS = (CONNECTION_STRING, "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN")
ACCOUNT_OF_CONNECTION = re.compile(rf"(?:AccountName=|BlobEndpoint=https://)({STORAGE_ACCOUNT.pattern})(?![a-z0-9])")


@dataclass(frozen=True)
class Settings:
    """The values that later checks need; None stands for one that is missing or malformed."""

    storage_account: str | None
    container: str | None
    prefix: str | None
    batch_url: str | None
    subscription: str | None
    resource_group: str | None
    identity: str | None
    identity_client: str | None
    image: str | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Settings":
        """Return what an environment sets, without a check."""
        values = {variable: _value(variable, environment) for variable in VARIABLES}
        store = urlsplit(values[STORE] or "")
        return cls(
            storage_account=values[STORAGE_ACCOUNT],
            container=store.netloc or None,
            prefix=store.path.strip("/") or None,
            batch_url=values[BATCH_URL],
            subscription=values[SUBSCRIPTION],
            resource_group=values[RESOURCE_GROUP],
            identity=values[IDENTITY],
            identity_client=values[IDENTITY_CLIENT],
            image=values[IMAGE],
        )


def _value(variable: Variable, environment: Mapping[str, str]) -> str | None:
    try:
        return variable.read(environment)
    except Failed:
        return None


def require(environment: Mapping[str, str]) -> None:
    """Check that every variable that a run on Azure needs is set and looks right, before anything is paid for.

    Raises:
        OperatorError: one or more are not; names each, and what it should be.
    """
    wrong = []
    for variable in [*VARIABLES, REGISTRY]:
        try:
            variable.read(environment)
        except Failed as failed:
            wrong.append(f"{variable.name}: {failed}")
    if wrong:
        raise OperatorError(
            "the profile azure-batch needs more of the environment:\n    " + "\n    ".join(wrong),
            where="the environment",
            action="set them as docs/azure.md says, and run make azure-doctor",
        )


def check_variables(report: Report, environment: Mapping[str, str]) -> None:
    """Check every variable; name the secrets that are set."""
    values = {}
    for variable in VARIABLES:
        values[variable] = report.check(variable.name, lambda v=variable: _look_at(v, environment))
    report.check(REGISTRY.name, lambda: _look_at_registry(environment, values[IMAGE]))
    for name in filter(environment.get, SECRETS):
        report.check(name, lambda name=name: _look_at_secret(name, environment, values[STORAGE_ACCOUNT]))


def _look_at(variable: Variable, environment: Mapping[str, str]) -> Passed:
    value = variable.read(environment)
    return Passed("not set, which is fine" if value is None else value, value)


def _look_at_secret(name: str, environment: Mapping[str, str], account: str | None) -> Passed:
    found = ACCOUNT_OF_CONNECTION.search(environment[name]) if name == CONNECTION_STRING else None
    if found and account and found[1] != account:
        raise Failed(
            f"it is of the account {found[1]}, and {STORAGE_ACCOUNT.name} names {account}",
            "unset it, or name its account",
        )
    return Passed("set, and not shown; programs here use it, tasks use the nodes' identity")


def _look_at_registry(environment: Mapping[str, str], image: str | None) -> Passed:
    """The executor lets nodes log in to a registry only where it is named, and then only to that one."""
    registry = REGISTRY.read(environment)
    host = (image or "").partition("/")[0]
    if registry is None and host.endswith(PRIVATE_REGISTRIES):
        raise Failed("it is not set, so nodes would pull the image without a login", f"export {REGISTRY.name}={host}")
    if registry is not None and image is not None and registry.removeprefix("https://") != host:
        raise Failed(f"the image lies in another registry, {host}", f"export {REGISTRY.name}={host}")
    return Passed("not set, which is fine" if registry is None else registry)
