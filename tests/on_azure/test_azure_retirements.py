"""What Azure has announced to retire, by the table of docs/azure.md, is not in use."""

import re
from datetime import date

import pytest
import yaml
from azure.batch import BatchClient
from azure.identity import DefaultAzureCredential
from azure.mgmt.batch import BatchManagementClient
from snakemake_executor_plugin_azurebatch.settings import ExecutorSettings

from azure_contract.bodies import API_VERSION
from doctor import SHIPPED
from project import ROOT

PAGE = (ROOT / "docs" / "azure.md").read_text()
TEMPLATE = (ROOT / "envs" / "azure" / "main.bicep").read_text()
# A size's series: Standard_D16ds_v5 is of Ddsv5, Standard_L8s of Ls.
SIZE = re.compile(r"Standard_([A-Z]+)\d+(?:-\d+)?([a-z]*)(?:_v(\d+))?")


def row(begins: str) -> list[str]:
    """The cells of the table's row that begins so."""
    (found,) = [line for line in PAGE.splitlines() if line.startswith(f"| {begins}")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def retired_before() -> str:
    return re.search(r"before (\d{4}-\d\d-\d\d)", row("Versions of Batch's interfaces")[0])[1]


def series_of(size: str) -> str:
    match = SIZE.fullmatch(size)
    assert match, size
    return "".join([match[1], match[2], f"v{match[3]}" if match[3] else ""])


def versions_in_use() -> dict[str, str]:
    service = BatchClient("https://account.region.batch.azure.com", DefaultAzureCredential())
    management = BatchManagementClient(DefaultAzureCredential(), "subscription")
    template = re.findall(r"'Microsoft\.Batch/\w+@([\d-]+)'", TEMPLATE)
    found = {"service": service._config.api_version, "management": management._config.api_version}
    return found | {"judged": API_VERSION} | {f"template {n}": version for n, version in enumerate(template)}


def test_no_version_in_use_is_to_be_retired() -> None:
    versions = versions_in_use()
    assert len(versions) == 4
    assert {name: version for name, version in versions.items() if version < retired_before()} == {}


def test_an_older_version_would_be_found() -> None:
    assert "2024-07-01" < retired_before() <= "2025-06-01"


def test_no_machine_in_use_is_of_a_series_to_be_retired() -> None:
    retired = re.search(r"series (.*)", row("Machines of the series")[0])[1].split(", ")
    profile = yaml.safe_load(SHIPPED.read_text())
    sizes = [ExecutorSettings().pool_vm_size, profile["azurebatch-pool-vm-size"]]
    assert [size for size in sizes if series_of(size) in retired] == []


@pytest.mark.parametrize(
    ("size", "series"),
    [("Standard_D2_v2", "Dv2"), ("Standard_L8s", "Ls"), ("Standard_NP10s", "NPs"), ("Standard_D2", "D")],
)
def test_a_size_names_its_series(size: str, series: str) -> None:
    assert series_of(size) == series


def test_the_image_in_use_is_supported_for_a_while() -> None:
    profile = yaml.safe_load(SHIPPED.read_text())
    assert profile["azurebatch-pool-vm-node-agent-sku-id"] == "batch.node.ubuntu 22.04"
    assert date.fromisoformat(row("Ubuntu 22.04 on nodes")[1]) >= date(2027, 6, 30)
