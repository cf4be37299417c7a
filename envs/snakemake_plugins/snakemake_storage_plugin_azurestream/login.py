"""The login to Azure of both plugins: a person's on a laptop, a node's identity, or a service's."""

import os

from azure.identity import AzureCliCredential, ChainedTokenCredential, EnvironmentCredential, ManagedIdentityCredential


def credential() -> ChainedTokenCredential:
    """Return the login of both plugins: `az login`, a managed identity, or azure-identity's own variables.

    AZURE_CLIENT_ID says which identity, where a machine has several; the executor sets it for its tasks.
    """
    identity = ManagedIdentityCredential(client_id=os.environ.get("AZURE_CLIENT_ID"))
    return ChainedTokenCredential(AzureCliCredential(), identity, EnvironmentCredential())
