"""Create the clients of Azure Blob Storage, and translate the SDK's errors into ours.

Credentials come from the environment, and are never arguments: AZURE_STORAGE_CONNECTION_STRING, or
AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_KEY, with AZURE_STORAGE_SAS_TOKEN, or, without either, whatever
DefaultAzureCredential finds: a managed identity on a node, `az login` on a laptop. The SDK repeats what the store
answers with 500, 503 or a time-out.
"""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from azure.core.exceptions import AzureError
from azure.core.pipeline import PipelineResponse
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobClient, BlobServiceClient, ExponentialRetry

from pretrain_llama.errors import DataError, OperatorError
from pretrain_llama.stores.locations import BLOB

CHANGED = ("ConditionNotMet", "SourceConditionNotMet", "BlobOverwritten")
UNREADABLE_SOURCE = "CannotVerifyCopySource"  # its status is what the source answered
ARCHIVED = ("BlobArchived", "BlobBeingRehydrated")


def split(location: str) -> tuple[str, str]:
    """Return the container and the name of az://{container}/{name}."""
    container, _, name = location.removeprefix(BLOB).partition("/")
    return container, name


def client(location: str) -> BlobClient:
    """Return the client of a blob."""
    container, name = split(location)
    return service().get_blob_client(container, name)


@cache
def service() -> BlobServiceClient:
    """Return the client of the account that the environment names.

    Raises:
        OperatorError: it names none, or two.
    """
    retries = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=7)
    options = {"retry_policy": retries, "raw_response_hook": _throttled_as_busy}
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    connection = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    if connection:
        return _connected(connection, account, options)
    if not account:
        raise OperatorError(
            "AZURE_STORAGE_ACCOUNT_NAME is not set, and a path begins with az://",
            where="the environment",
            action="export AZURE_STORAGE_ACCOUNT_NAME=<the storage account>",
        )
    secret = os.environ.get("AZURE_STORAGE_KEY") or os.environ.get("AZURE_STORAGE_SAS_TOKEN")
    return BlobServiceClient(f"https://{account}.blob.core.windows.net", secret or DefaultAzureCredential(), **options)


def _connected(connection: str, account: str | None, options: dict) -> BlobServiceClient:
    """Return a client by connection string; Snakemake's storage goes by the account's name, so both have to agree."""
    try:
        connected = BlobServiceClient.from_connection_string(connection, **options)
    except ValueError:  # its text may repeat the secret
        raise OperatorError(
            "AZURE_STORAGE_CONNECTION_STRING is no connection string (and is not shown)",
            where="the environment",
            action="copy it anew, or unset it",
        ) from None
    if account and connected.account_name != account:
        raise OperatorError(
            f"AZURE_STORAGE_CONNECTION_STRING is of the account {connected.account_name}, and "
            f"AZURE_STORAGE_ACCOUNT_NAME names {account}: blobs would be read in one, and results sought in the other",
            where="the environment",
            action="unset AZURE_STORAGE_CONNECTION_STRING, or name its account",
        )
    return connected


def _throttled_as_busy(response: PipelineResponse) -> None:
    """Let the SDK repeat what is answered with 429, as it does with 503."""
    if response.http_response.status_code == 429:
        response.http_response.status_code = 503


@contextmanager
def understood(location: str) -> Iterator[None]:
    """Turn what the SDK raises into an error that says who must act; its own texts may hold signed URLs, and go.

    The service's code decides, not the SDK's class: that calls a busy source of a copy (CannotVerifyCopySource, 503)
    "not found", and does not know SourceConditionNotMet.
    """
    try:
        yield
    except AzureError as error:
        code, status = code_of(error), getattr(error, "status_code", None)
        if code in CHANGED or (code, status) == (UNREADABLE_SOURCE, 412):
            raise DataError(
                "the blob changed or vanished since it was planned",
                where=location,
                action="run again: planning looks at it anew, and says what to do",
            ) from None
        if status == 404:
            raise DataError(
                "no such blob or container", where=location, action="put it back, or correct the path that names it"
            ) from None
        if code in ARCHIVED or (code, status) == (UNREADABLE_SOURCE, 409):
            raise DataError(
                "the blob is in the archive tier, where nothing can read it",
                where=location,
                action=f"{_warmed(location)}, and wait for hours until it is done; its ETag stays",
            ) from None
        raise OperatorError(
            f"the store answers {code} ({status or 'no answer'})",
            where=location,
            action="check the login, the identity's role and the network: make azure-doctor; then run again",
        ) from None


def _warmed(location: str) -> str:
    """Return the command that brings a blob back from the archive."""
    (container, name), account = split(location), service().account_name
    where = f"--account-name {account} --container-name {container} --name {shlex.quote(name)}"
    return f"`az storage blob set-tier --auth-mode login {where} --tier Hot`"


def code_of(error: AzureError) -> str:
    """Return the service's code of an error, or the name of its class where no answer came."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or type(error).__name__)
