"""Check the login to Azure, and explain why a service refused a request.

Messages are built here from codes, never from what a service wrote: that may repeat what it was sent.
"""

import re
from typing import Any

from pretrain_llama.checklist import Failed, Passed, Unknown

STORAGE_SCOPE = "https://storage.azure.com/.default"
BATCH_SCOPE = "https://batch.core.windows.net/.default"
MANAGEMENT_SCOPE = "https://management.azure.com/.default"
LOGIN = "log in with `az login`, or run where a managed identity is, or set AZURE_CLIENT_ID and its companions"


def log_in(scope: str) -> Passed:
    """Get a token as the clients do: the storage client through the default chain, the executor through its own.

    Raises:
        Unknown: no credential gave a token.
    """
    from azure.core.exceptions import AzureError
    from azure.identity import DefaultAzureCredential
    from snakemake_storage_plugin_azurestream.login import credential

    login = DefaultAzureCredential() if scope == STORAGE_SCOPE else credential()
    try:
        login.get_token(scope)
    except AzureError as error:
        codes = sorted(set(re.findall(r"AADSTS\d+", str(error))))
        why = f"no credential gave a token{''.join(f' ({code})' for code in codes)}"
        raise Unknown(why, LOGIN) from error
    return Passed("a token was given", login)


def explain(error: Exception, who_may: str) -> Failed:
    """Return what a failed request means.

    Args:
        error: of azure-core.
        who_may: the role that the login needs, for the message.
    """
    status, code = status_and_code(error)
    if status is None:
        return Unknown("no answer came", "check that the name is right, and that the network and its proxies let you")
    if status == 401:
        return Failed(f"the login is not accepted ({code})", "log in to the subscription's own tenant")
    if status == 403 and code == "AuthorizationFailure":
        return Failed("the account's firewall does not let this machine in", "add its address or network to the rules")
    if status == 403:
        return Failed(f"the login may not ({code})", f"give it the role {who_may!r}; it counts after some minutes")
    if status == 429 or status >= 500:
        return Unknown(f"the service is busy ({status} {code})", "try again in some minutes")
    return Failed(f"the service refused ({status} {code})", "look the code up in the service's documentation")


def status_and_code(error: Exception) -> tuple[int | None, str]:
    """Return the HTTP status (None where no answer came) and the service's error code."""
    response: Any = getattr(error, "response", None)
    inner = getattr(error, "error", None)
    code = getattr(error, "error_code", None) or getattr(inner, "code", None)
    code = str(getattr(code, "value", code) or "no code")
    return getattr(response, "status_code", None), code if re.fullmatch(r"\w{1,60}", code) else "no code"
