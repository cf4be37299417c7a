"""Put the Batch service's answers into words and codes."""

from azure.batch import models
from azure.core.exceptions import AzureError

Explained = models.ResizeError | models.AutoScaleRunError | models.BatchNodeError | models.BatchTaskFailureInfo


def status_of(error: AzureError) -> int | None:
    """Return the HTTP status of a refusal; None where no answer came."""
    return getattr(error, "status_code", None)


def code_of(error: AzureError) -> str | None:
    """Return the service's code of a refusal; None where no answer came."""
    return getattr(getattr(error, "error", None), "code", None)


def explained(error: Explained | None) -> str:
    """Return an error of the service in words: code, message, details."""
    if error is None:
        return "the service does not say why"
    details = next((error[name] for name in ("details", "errorDetails", "values") if name in error), [])
    return ": ".join([f"{error.code}", f"{error.message}", *(f"{item['name']} {item['value']}" for item in details)])
