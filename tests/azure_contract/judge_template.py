"""What Azure's published types say of envs/azure/main.bicep, and of wrong ones."""

from pathlib import Path

import pytest

from azure_contract.bicep import faults_of, resources_of

TEMPLATE = (Path(__file__).parents[2] / "envs" / "azure" / "main.bicep").read_text()


def test_the_template_is_one_that_the_types_allow() -> None:
    assert faults_of(TEMPLATE) == []
    assert len(resources_of(TEMPLATE)) >= 14


@pytest.mark.parametrize(
    ("name", "right", "wrong", "says"),
    [
        ("name", "accessTier: 'Hot'", "accesTier: 'Hot'", "storage.properties.accesTier: no property"),
        ("type", "enabled: true, days", "enabled: 'true', days", "'true' is no bool"),
        ("enumeration", "'TLS1_2'", "'TLS1.2'", "'TLS1.2' is none of"),
        ("required", "  kind: 'StorageV2'\n", "", "storage.kind: is required"),
        ("allowed", "'Standard_LRS', 'Standard_ZRS'", "'Standard_LRS', 'Standard_ABC'", "'Standard_ABC' is none of"),
        ("bound", "@maxValue(365)", "@maxValue(366)", "366 is not within 1 and 365"),
        ("mode", "allowedAuthenticationModes: ['AAD']", "allowedAuthenticationModes: 'AAD'", "'AAD' is no list"),
        ("level", "'CanNotDelete'", "'CannotDelete'", "'CannotDelete' is none of"),
        ("principal", "principalType: 'ServicePrincipal'", "principalType: 'Service'", "'Service' is none of"),
        (
            "read only",
            "    poolAllocationMode:",
            "    accountEndpoint: 'x'\n    poolAllocationMode:",
            "only the service",
        ),
        ("access", "identity.properties.principalId", "identity.properties.objectId", "there is no objectId"),
        ("output", "batch.properties.accountEndpoint", "batch.properties.endpoint", "there is no endpoint"),
    ],
)
def test_a_wrong_template_is_found(name: str, right: str, wrong: str, says: str) -> None:
    assert right in TEMPLATE
    assert says in "; ".join(faults_of(TEMPLATE.replace(right, wrong)))


def test_a_version_without_types_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        faults_of(TEMPLATE.replace("batchAccounts@2025-06-01", "batchAccounts@2099-01-01"))
    with pytest.raises(KeyError, match="batchaccount@2025-06-01"):
        faults_of(TEMPLATE.replace("batchAccounts@2025-06-01", "batchAccount@2025-06-01"))
