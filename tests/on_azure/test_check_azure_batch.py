"""The doctor's look at the Batch account: quota, pools, the nodes' image, and the profile that asks for them."""

from pathlib import Path

import pytest

from azure_emulator import subscription as names
from azure_emulator.autoscale import Asked
from azure_emulator.faults import Cut, Refuse, Where
from azure_emulator.service import EmulatedAzure
from doctor import SHIPPED, Visit
from pretrain_llama.checklist import Failed, Passed, Unknown
from pretrain_llama.doctor import batch
from pretrain_llama.doctor.profile import read_profile

ACCOUNT = "Batch account"
IMAGE = "machine image"
UBUNTU = ("microsoft-dsvm", "ubuntu-hpc", "2204", "batch.node.ubuntu 22.04")


# The account


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("ACCOUNT_URL", f"https://other.{names.REGION}.batch.azure.com", "ResourceNotFound"),
        ("RESOURCE_GROUP_NAME", "other", "ResourceGroupNotFound"),
        ("SUBSCRIPTION_ID", "00000000-0000-0000-0000-000000000000", "SubscriptionNotFound"),
    ],
)
def test_an_account_that_is_not_there(
    azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, code: str
) -> None:
    monkeypatch.setenv(f"SNAKEMAKE_AZURE_BATCH_{name}", value)
    visit = Visit(tmp_path)
    assert visit.of(ACCOUNT).startswith("FAIL: the subscription has no such account in the group")
    assert f"({code}); next: correct the variables, or create it with envs/azure/main.bicep" in visit.of(ACCOUNT)
    assert visit.of("cores").startswith("could not check")


def test_an_account_of_another_region(azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAKEMAKE_AZURE_BATCH_ACCOUNT_URL", f"https://{names.BATCH_ACCOUNT}.eastus.batch.azure.com")
    visit = Visit(tmp_path)
    assert f"FAIL: its address is another one; next: set the account URL to https://{names.BATCH_HOST}" in visit.of(
        ACCOUNT
    )
    assert visit.of(IMAGE).startswith("could not check: no answer came")


def test_a_login_without_a_role(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Refuse(403, "AuthorizationFailed"), Where("management", target="/batchAccounts/"))
    azure.faults.add(Refuse(403, "AuthorizationPermissionMismatch"), Where("batch", target="supportedimages"))
    visit = Visit(tmp_path)
    assert "the login may not (AuthorizationFailed); next: give it the role 'Contributor on" in visit.of(ACCOUNT)
    assert "give it the role 'Azure Batch Data Contributor'" in visit.of(IMAGE)


def test_a_management_that_does_not_answer(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Cut("request"), Where("management", target="/batchAccounts/"), times=2)
    visit = Visit(tmp_path)
    assert visit.of(ACCOUNT).startswith("could not check: no answer came")
    assert visit.exit_code == 2


def test_an_error_of_ours_is_not_explained_away() -> None:
    def broken() -> Passed:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        batch._explained(broken)()


# Quota


def test_the_quota_is_held_against_all_pools(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.management.quota["dedicatedCoreQuota"] = 64
    old = azure.cluster.add_pool("snakepool-old", "Standard_D4ds_v5", Asked(8, 0), 1)
    old.metadata = [{"name": "started_by", "value": "jane on laptop, process 7"}]
    visit = Visit(tmp_path)
    assert visit.of("cores") == "ok: 32 of 64 dedicated cores (spot: 0 of 32)"
    started = "snakepool-old with 8 nodes, started by jane on laptop, process 7"
    assert visit.of("pools") == f"ok: 1 of 20 are there: {started}"
    visit = Visit(tmp_path, node_count=3)
    assert visit.of("cores").startswith(
        "FAIL: the profile asks for 48 dedicated cores, 32 are in use, the quota is 64; next: ask for more"
    )


def test_the_quota_of_spot_cores(azure: EmulatedAzure, tmp_path: Path) -> None:
    visit = Visit(tmp_path, spot_node_count=2)
    assert "up to 2 nodes and 2 spot nodes of Standard_D16ds_v5, from" in visit.of("profile")
    assert visit.of("cores") == "ok: 32 of 400 dedicated cores (spot: 32 of 32)"
    azure.cluster.add_pool("old", "Standard_D4ds_v5", Asked(0, 1), 1)
    says = "FAIL: the profile asks for 32 spot cores, 4 are in use, the quota is 32; next: ask for more"
    assert Visit(tmp_path, spot_node_count=2).of("cores").startswith(says)


def test_a_pool_of_a_size_that_is_no_longer_offered_counts_for_nothing(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.cluster.add_pool("old", "Standard_A1", Asked(8, 0), 1)
    assert Visit(tmp_path).of("cores").startswith("ok: ")


def test_sizes_and_families_are_known_in_any_case(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.management.quota["dedicatedCoreQuota"] = 64
    for entry in azure.management.quota["dedicatedCoreQuotaPerVMFamily"]:
        entry["name"] = entry["name"].upper()
    azure.cluster.add_pool("old", "standard_d4ds_v5", Asked(8, 0), 1)
    assert Visit(tmp_path, vm_size="standard_d16ds_v5").of("cores").startswith("ok: 32 of 64")
    says = "FAIL: the profile asks for 48 dedicated cores, 32 are in use, the quota is 64"
    assert Visit(tmp_path, node_count=3).of("cores").startswith(says)


def test_the_quota_of_a_family(azure: EmulatedAzure, tmp_path: Path) -> None:
    says = "FAIL: the profile asks for 16 cores of standardEDSv5Family, 0 are in use, the quota is 0"
    assert Visit(tmp_path, vm_size="Standard_E8ds_v5").of("cores").startswith(says)
    azure.management.quota["dedicatedCoreQuotaPerVMFamilyEnforced"] = False
    assert Visit(tmp_path, vm_size="Standard_E8ds_v5").of("cores").startswith("ok: 16 of 400")


def test_the_cores_of_all_sizes_are_counted(azure: EmulatedAzure, tmp_path: Path) -> None:
    larger = {"merge_shard": {"vm_size": "Standard_D4ds_v5"}}
    visit = Visit(tmp_path, profile={"set-resources": larger})
    assert "up to 2 nodes of Standard_D16ds_v5 and of Standard_D4ds_v5, from" in visit.of("profile")
    assert visit.of("cores").startswith("ok: 40 of 400 dedicated cores")
    azure.management.quota["poolQuota"] = 1
    says = "FAIL: the profile asks for 2 pools, 0 are in use, the quota is 1"
    assert Visit(tmp_path, profile={"set-resources": larger}).of("pools").startswith(says)


def test_a_quota_that_is_the_subscriptions(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.management.quota["dedicatedCoreQuota"] = None
    assert Visit(tmp_path).of("cores").startswith("could not check: the account's quota is the subscription's")


def test_a_login_that_may_not_list_sizes(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Refuse(403, "AuthorizationFailed"), Where("management", target="virtualMachineSkus"))
    says = (
        "could not check: the login may not list the region's sizes of machines; the quota is 400; next: have the role"
    )
    assert Visit(tmp_path).of("cores").startswith(says)


def test_a_busy_management(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Refuse(503, "ServerBusy"), Where("management", target="virtualMachineSkus"), times=2)
    assert Visit(tmp_path).of("cores").startswith("could not check: the service is busy (503 ServerBusy)")


def test_a_size_that_the_region_does_not_have(azure: EmulatedAzure, tmp_path: Path) -> None:
    says = "FAIL: westeurope has no machines of size Standard_X1; next: choose another in the profile"
    assert Visit(tmp_path, vm_size="Standard_X1").of("cores") == says


def test_the_quota_of_pools(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.management.quota["poolQuota"] = 0
    assert Visit(tmp_path).of("pools").startswith("FAIL: the profile asks for 1 pools, 0 are in use, the quota is 0")


# The nodes' image


def test_an_image_without_an_end(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.batch.images = [(*UBUNTU, None)]
    assert Visit(tmp_path).of(IMAGE) == "ok: supported without an end in sight"


def test_an_image_whose_support_ends_soon(azure: EmulatedAzure, tmp_path: Path) -> None:
    soon = batch.datetime.now(batch.UTC) + batch.WARN_BEFORE / 2
    azure.batch.images = [(*UBUNTU, soon.isoformat())]
    visit = Visit(tmp_path)
    assert visit.of(IMAGE) == f"ok: supported until {soon:%Y-%m-%d}, which is soon"
    assert visit.exit_code == 0


def test_an_image_whose_support_ended(azure: EmulatedAzure, tmp_path: Path) -> None:
    changes = {"image_publisher": "microsoft-azure-batch", "image_offer": "ubuntu-server-container"}
    visit = Visit(tmp_path, **changes, image_sku="20-04-lts")
    assert visit.of(IMAGE).startswith("FAIL: its support ended on 2025-04-23; next: choose one from `az batch pool")
    assert visit.of("node agent").startswith("could not check")


def test_an_image_that_is_not_supported(azure: EmulatedAzure, tmp_path: Path) -> None:
    assert Visit(tmp_path, image_sku="1804").of(IMAGE).startswith("FAIL: the service does not support it")


def test_an_image_without_containers(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.batch.image_capabilities = []
    assert Visit(tmp_path).of(IMAGE).startswith("FAIL: it does not run containers")


def test_a_node_agent_of_another_image(azure: EmulatedAzure, tmp_path: Path) -> None:
    assert Visit(tmp_path, vm_node_agent_sku_id="batch.node.el 8").of("node agent") == (
        "FAIL: the image wants 'batch.node.ubuntu 22.04', the profile has 'batch.node.el 8'; "
        "next: correct azurebatch-pool-vm-node-agent-sku-id in the profile"
    )


# The profile


def test_the_shipped_profile_asks_for_what_there_is() -> None:
    pool = read_profile(SHIPPED).value
    assert set(pool.vm_sizes) <= names.VM_SIZES.keys()
    assert (pool.publisher, pool.offer, pool.sku, pool.node_agent) == UBUNTU


def test_a_profile_may_take_values_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODES", "7")
    (tmp_path / "config.yaml").write_text("jobs: 3\nazurebatch-pool-node-count: $NODES\n")
    pool = read_profile(tmp_path / "config.yaml").value
    assert (pool.nodes, pool.vm_sizes, pool.node_agent) == (7, ["Standard_D2ds_v5"], "batch.node.ubuntu 22.04")


def test_a_profile_that_is_not_there(azure: EmulatedAzure, tmp_path: Path) -> None:
    with pytest.raises(Unknown, match="there is no such file; next: name the profile"):
        read_profile(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "text",
    ["- a list", "azurebatch-pool-node-count: many", "key: [", "", "set-resources: [x]", "set-resources: {a: 3}"],
)
def test_a_profile_that_describes_no_pool(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(Failed, match="it describes no pool"):
        read_profile(tmp_path / "config.yaml")
