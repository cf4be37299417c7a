"""Handle the store's failures: repeat a request where that may help, else tell a person what the store answered."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from azure.core.exceptions import AzureError
from azure.core.pipeline import PipelineResponse
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_storage_plugins.storage_object import StorageObjectBase, retry_decorator


def repeated(method: Callable[[StorageObjectBase], Any]) -> Callable[[StorageObjectBase], Any]:
    """Repeat a method as Snakemake's storage does, and in the end tell what the store answered, not the repetition."""
    attempts = retry_decorator(method).retry_with(reraise=True)

    @wraps(method)
    def told(self: StorageObjectBase) -> Any:
        try:
            return attempts(self)
        except AzureError as error:
            raise refused(error, self.query) from None

    return told


def refused(error: AzureError, location: str) -> WorkflowError:
    """Return what an error of the store means to a person, by its code; its own texts may hold signed URLs, and go."""
    code = getattr(error, "error_code", None)
    answer = f"{getattr(code, 'value', code) or type(error).__name__} ({getattr(error, 'status_code', 'no answer')})"
    return WorkflowError(
        f"the store answers {answer} about {location}: check the login, the identity's role and the network: make "
        "azure-doctor; then run again"
    )


def throttled_as_busy(response: PipelineResponse) -> None:
    """Let the SDK repeat what is answered with 429, as it does with 503."""
    if response.http_response.status_code == 429:
        response.http_response.status_code = 503
