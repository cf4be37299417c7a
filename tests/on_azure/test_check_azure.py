"""The doctor's look at variables, logins and storage: every verdict, and never a secret."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from azure.identity import DefaultAzureCredential

from azure_emulator.faults import Cut, Refuse, Shift, Where
from azure_emulator.service import EmulatedAzure
from azure_emulator.subscription import IDENTITY_CLIENT_ID
from doctor import Visit
from pretrain_llama.checklist import Failed, Report
from pretrain_llama.doctor.storage import Container
from pretrain_llama.doctor.variables import VARIABLES, Settings, check_variables
from project import ROOT, SCRIPTS

BATCH = "SNAKEMAKE_AZURE_BATCH"
GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/g/providers"
GOOD = {
    "AZURE_STORAGE_ACCOUNT_NAME": "vendordata1",
    "PRETRAIN_LLAMA_STORE": "az://results-2026/llama/v1",
    f"{BATCH}_ACCOUNT_URL": "https://llama.westeurope.batch.azure.com",
    f"{BATCH}_SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000000",
    f"{BATCH}_RESOURCE_GROUP_NAME": "llama_(west).eu",
    f"{BATCH}_MANAGED_IDENTITY_RESOURCE_ID": f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/nodes",
    f"{BATCH}_MANAGED_IDENTITY_CLIENT_ID": "abcdef00-0000-0000-0000-000000000000",
    "PRETRAIN_LLAMA_IMAGE": "llama.azurecr.io/pretrain-llama-data:1",
    f"{BATCH}_CONTAINER_REGISTRY_URL": "llama.azurecr.io",
    f"{BATCH}_POOL_SUBNET_ID": f"{GROUP}/Microsoft.Network/virtualNetworks/net/subnets/nodes",
}
OPTIONAL = {f"{BATCH}_CONTAINER_REGISTRY_URL", f"{BATCH}_POOL_SUBNET_ID"}
SECRET = "AccountKey=c2VjcmV0"
MALFORMED = [
    ("AZURE_STORAGE_ACCOUNT_NAME", "Vendor_Data"),
    ("PRETRAIN_LLAMA_STORE", "az://results"),
    ("PRETRAIN_LLAMA_STORE", "az://results/prefix/"),
    ("PRETRAIN_LLAMA_STORE", "az://Results/prefix"),
    ("PRETRAIN_LLAMA_STORE", "az://two--hyphens/prefix"),
    ("PRETRAIN_LLAMA_STORE", "az://ab/prefix"),
    ("PRETRAIN_LLAMA_STORE", "az://results/prefix?sig=c2VjcmV0"),
    (f"{BATCH}_ACCOUNT_URL", "llama.westeurope.batch.azure.com"),
    (f"{BATCH}_ACCOUNT_URL", "https://llama.westeurope.batch.azure.com/"),
    (f"{BATCH}_SUBSCRIPTION_ID", "my subscription"),
    (f"{BATCH}_RESOURCE_GROUP_NAME", "ends with a dot."),
    (f"{BATCH}_MANAGED_IDENTITY_RESOURCE_ID", "nodes"),
    (f"{BATCH}_MANAGED_IDENTITY_CLIENT_ID", "nodes"),
    ("PRETRAIN_LLAMA_IMAGE", "llama.azurecr.io/pretrain-llama-data"),
    ("PRETRAIN_LLAMA_IMAGE", "pretrain-llama-data:1"),
    (f"{BATCH}_CONTAINER_REGISTRY_URL", "llama"),
    (f"{BATCH}_POOL_SUBNET_ID", "default"),
    *((name, SECRET) for name in GOOD),
]


class Lines(list):
    """The variables' lines by name, without running the program."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.report = Report(self.append)
        check_variables(self.report, environment)
        self.settings = Settings.of(environment)

    def of(self, name: str) -> str:
        return next(line for line in self if name in line.partition(": ")[0])


# Variables


def test_good_variables() -> None:
    lines = Lines(GOOD)
    assert lines.report.exit_code() == 0
    assert len(lines) == len(GOOD)
    assert (lines.settings.container, lines.settings.prefix) == ("results-2026", "llama/v1")
    assert Lines(GOOD | {"PRETRAIN_LLAMA_IMAGE": f"llama.azurecr.io/a/b@sha256:{'0' * 64}"}).report.exit_code() == 0


@pytest.mark.parametrize("name", sorted(GOOD.keys() - OPTIONAL))
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_variable_is_one_clear_line(name: str, empty: bool) -> None:
    lines = Lines(GOOD | {name: ""} if empty else {k: v for k, v in GOOD.items() if k != name})
    assert re.fullmatch(rf"FAIL +{name}: it is not set; next: export {name}, .+", lines.of(name))
    assert lines.report.exit_code() == 1


@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_a_malformed_value_is_not_shown(name: str, value: str) -> None:
    lines = Lines(GOOD | {name: value})
    assert re.match(
        rf"FAIL +{name}: its value does not look like one \(and is not shown\); next: set it to", lines.of(name)
    )
    assert "c2VjcmV0" not in "".join(lines)


def test_optional_variables_may_be_missing() -> None:
    public = {k: v for k, v in GOOD.items() if k not in OPTIONAL} | {"PRETRAIN_LLAMA_IMAGE": "example.org/data:1"}
    assert Lines(public).report.exit_code() == 0


def test_a_private_registry_must_be_named() -> None:
    name = f"{BATCH}_CONTAINER_REGISTRY_URL"
    lines = Lines(GOOD | {name: ""})
    assert f"without a login; next: export {name}=llama.azurecr.io" in lines.of(name)
    assert "in another registry, llama.azurecr.io" in Lines(GOOD | {name: "https://other.azurecr.io"}).of(name)


@pytest.mark.parametrize(("account", "verdict"), [("vendordata1", "ok"), ("vendordata2", "FAIL")])
@pytest.mark.parametrize("form", ["AccountName={};AccountKey=a2V5", "BlobEndpoint=https://{}.blob.core.windows.net/"])
def test_a_connection_string_must_be_of_the_account(account: str, verdict: str, form: str) -> None:
    lines = Lines(GOOD | {"AZURE_STORAGE_CONNECTION_STRING": form.format(account)})
    line = lines.of("AZURE_STORAGE_CONNECTION_STRING")
    assert line.startswith(verdict) and "a2V5" not in line
    assert verdict == "ok" or "of the account vendordata2, and AZURE_STORAGE_ACCOUNT_NAME names vendordata1" in line


def test_every_variable_is_in_the_documentation() -> None:
    text = (ROOT / "docs" / "azure.md").read_text()
    assert {variable.name for variable in VARIABLES} | {f"{BATCH}_CONTAINER_REGISTRY_URL"} == GOOD.keys()
    assert [name for name in GOOD if f"`{name}`" not in text] == []


# The whole


def test_help_and_offline_load_no_client() -> None:
    """Importing the Azure clients takes a second."""
    code = "import check_azure, sys; print({'azure', 'snakemake', 'yaml'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_all_is_well(azure: EmulatedAzure, tmp_path: Path) -> None:
    upload(azure, "a.jsonl")
    visit = Visit(tmp_path, "--corpora", corpora(tmp_path, "az://vendor/*.jsonl"))
    assert (visit.exit_code, visit.verdicts()) == (0, [])
    assert list(visit.steps()) == [str(number) for number in range(1, 10)]
    assert visit.of("first run").startswith("ok: nothing was made yet")
    assert visit.of("budget").startswith("ok: none: nobody is told when money runs out")
    with azure.azurite.client() as client:
        assert list(client.get_container_client("results").list_blobs()) == []
    assert azure.refused == []


def test_secrets_are_never_shown(azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"AZURE_STORAGE_KEY": "c2VjcmV0a2V5", "AZURE_STORAGE_CONNECTION_STRING": f"{SECRET};"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    azure.faults.add(Refuse(403, "AuthorizationFailure", message="you sent Bearer eyJsecret"), times=20)
    azure.faults.add(Refuse(403, "you sent Bearer eyJsecret"), Where("batch"), times=20)
    visit = Visit(tmp_path)
    assert visit.exit_code == 1
    assert visit.of("AZURE_STORAGE_KEY").startswith("ok: set, and not shown")
    for secret in (*secrets.values(), "eyJ", "sig=", os.environ["IDENTITY_HEADER"]):
        assert secret not in visit.printed


def upload(azure: EmulatedAzure, name: str) -> None:
    with azure.azurite.client() as client:
        client.get_blob_client("vendor", name).upload_blob(b"{}")


# The subscription


def test_a_provider_that_is_not_registered(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.management.unregistered = {"Microsoft.ContainerRegistry"}
    says = "FAIL: Microsoft.ContainerRegistry is NotRegistered; next: `az provider register --namespace Microsoft.Cont"
    assert Visit(tmp_path).of("resource providers").startswith(says)


def test_a_login_that_may_not_ask_the_subscription(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Refuse(403, "AuthorizationFailed"), Where("management", target="providers/Microsoft.Batch\\?"))
    azure.faults.add(Refuse(404, "BudgetsNotFound"), Where("management", target="Consumption"))
    visit = Visit(tmp_path)
    says = (
        "could not check: the login may not ask; next: have the role Reader on the subscription, or look in the portal"
    )
    assert visit.of("resource providers") == says
    assert visit.of("budget").startswith("FAIL: the service refused (404 BudgetsNotFound)")


def test_an_identity_of_another_client_id(
    azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{BATCH}_MANAGED_IDENTITY_CLIENT_ID", "00000000-0000-0000-0000-000000000000")
    says = f"FAIL: its client id is another one; next: export {BATCH}_MANAGED_IDENTITY_CLIENT_ID={IDENTITY_CLIENT_ID}"
    assert Visit(tmp_path).of("identity of the nodes") == says


def test_budgets_are_named(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.management.budgets = [{"name": "monthly", "properties": {"amount": 500.0}}]
    assert Visit(tmp_path).of("budget") == "ok: monthly, 500"


# The image of the tasks


@pytest.mark.parametrize(
    ("platforms", "says"),
    [
        (["linux/amd64", "unknown/unknown"], "ok: pretraintest.azurecr.io/pretrain-llama-data:1, for linux/amd64"),
        (["linux/amd64"], "ok: pretraintest.azurecr.io/pretrain-llama-data:1, for linux/amd64"),
        (["linux/arm64"], "FAIL: it was built for linux/arm64, and nodes are linux/amd64; next: docker build --platf"),
        (None, "FAIL: pretraintest.azurecr.io/pretrain-llama-data:1 is not in its registry; next: docker build --pl"),
    ],
)
def test_what_the_image_was_built_for(
    azure: EmulatedAzure, tmp_path: Path, platforms: list[str] | None, says: str
) -> None:
    azure.registry.images = {} if platforms is None else {"pretrain-llama-data:1": platforms}
    assert Visit(tmp_path).of("image").startswith(says)


def test_an_image_that_cannot_be_looked_at(
    azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure.faults.add(Refuse(403, "DENIED"), Where("registry", target="manifests"))
    assert "next: give it the role 'AcrPull on the registry'" in Visit(tmp_path).of("image")
    monkeypatch.setenv("PRETRAIN_LLAMA_IMAGE", "example.org/data:1")
    assert Visit(tmp_path).of("image") == "ok: example.org/data:1 is of a public registry, which was not asked"


def test_offline_it_says_what_is_not_checked(azure: EmulatedAzure, tmp_path: Path) -> None:
    visit = Visit(tmp_path, "--offline", "--corpora", corpora(tmp_path, "az://vendor/a/*.jsonl"))
    assert (visit.exit_code, set(visit.verdicts())) == (2, {"could not check"})
    assert len(visit.lines) - len(visit.verdicts()) == len(GOOD) + 2, "the variables, the profile and the table"
    for title in ("login for storage", "clock", "write a blob", "vendor container vendor", "cores", "machine image"):
        assert visit.of(title).startswith("could not check: "), title
    assert "nothing is asked of storage.azure.com offline; next: leave --offline out" in visit.of("login for storage")
    assert azure.traffic.requests() == azure.refused == []


def test_without_a_login_every_line_says_so(
    azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    visit = Visit(tmp_path)
    assert visit.exit_code == 2
    assert visit.verdicts() == ["could not check"] * 20
    assert "no credential gave a token; next: log in with `az login`" in visit.of("login for storage")
    assert "it needs what another line did not give" in visit.of("clock")


def test_a_login_that_ended_shows_its_code(
    azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    az = azure.folder / "bin" / "az"
    az.write_text("#!/bin/sh\necho 'ERROR: AADSTS700082: The refresh token has expired' >&2\nexit 1\n")
    visit = Visit(tmp_path)
    for login in ("storage", "Batch", "the subscription"):
        assert "no credential gave a token (AADSTS700082)" in visit.of(f"login for {login}")


def test_a_variable_that_is_missing_is_said_where_it_is_needed(
    azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PRETRAIN_LLAMA_STORE")
    visit = Visit(tmp_path)
    assert (visit.exit_code, visit.verdicts()) == (1, ["could not check"] * 7 + ["FAIL", "could not check"])


# Storage


def test_an_account_that_does_not_answer(azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "misspelt")
    visit = Visit(tmp_path)
    assert visit.of("storage account").startswith("could not check: no answer came; next: check that the name is right")
    assert (visit.exit_code, len(visit.verdicts())) == (2, 8)


@pytest.mark.parametrize(("hours", "side"), [(-1, "ahead of"), (1, "behind")])
def test_a_wrong_clock(azure: EmulatedAzure, tmp_path: Path, hours: int, side: str) -> None:
    azure.faults.add(Shift(3600 * hours))
    assert re.match(
        rf"FAIL: this machine is 3\d\d\d s {side} the service; next: set its clock", Visit(tmp_path).of("clock")
    )


def test_a_container_that_is_not_there(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.azurite.clear()
    visit = Visit(tmp_path)
    assert visit.of("container results").startswith("FAIL: it does not exist; next: `az storage container create ")
    assert visit.verdicts() == ["FAIL"] + ["could not check"] * 5


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, "NoAuthenticationInformation", "FAIL: the login is not accepted"),
        (403, "AuthorizationFailure", "FAIL: the account's firewall does not let this machine in"),
        (403, "AuthorizationPermissionMismatch", "FAIL: the login may not"),
        (409, "ContainerBeingDeleted", "FAIL: the service refused (409 ContainerBeingDeleted)"),
        (429, "TooManyRequests", "could not check: the service is busy (429 TooManyRequests)"),
        (503, "ServerBusy", "could not check: the service is busy (503 ServerBusy)"),
    ],
)
def test_a_refusal_is_told_by_its_cause(
    azure: EmulatedAzure, tmp_path: Path, status: int, code: str, says: str
) -> None:
    azure.faults.add(Refuse(status, code), Where(method="GET"), times=2)
    assert Visit(tmp_path).of("container results").startswith(says)


@pytest.mark.parametrize(
    ("what", "where"),
    [
        ("list blobs", Where(target="comp=list")),
        ("write a blob", Where(method="PUT")),
        ("read a blob", Where(method="GET", target="/.doctor-")),
    ],
)
def test_what_the_login_may_not_do(azure: EmulatedAzure, tmp_path: Path, what: str, where: Where) -> None:
    azure.faults.add(Refuse(403, "AuthorizationPermissionMismatch"), where)
    visit = Visit(tmp_path)
    assert "next: give it the role 'Storage Blob Data Contributor'" in visit.of(what)
    assert visit.exit_code == 1


def corpora(folder: Path, *sources: str) -> Path:
    rows = [["language", "domain", "subdomain", "source", "text_key"]]
    rows += [["en", "books", f"part{number}", source, "text"] for number, source in enumerate(sources)]
    (folder / "corpora.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    return folder / "corpora.tsv"


def test_the_containers_of_vendor_blobs_are_listed(azure: EmulatedAzure, tmp_path: Path) -> None:
    table = corpora(tmp_path, "az://vendor/a/b*/*.jsonl", "az://vendor/c/*", "az://lost/*", "here/*.jsonl")
    empty = Visit(tmp_path, "--corpora", table).of("vendor container vendor")
    assert empty.startswith("FAIL: there is no blob below a; next: upload the vendor's files (docs/azure.md, step 7)")
    upload(azure, "a/b1/x.jsonl")
    visit = Visit(tmp_path, "--corpora", table)
    assert visit.of("table of corpora") == "ok: 4 sources, in 2 containers"
    assert visit.of("vendor container vendor") == "ok: a/b1/x.jsonl and so on"
    assert visit.of("vendor container lost").startswith("FAIL: it does not exist; next: correct the sources")
    azure.faults.add(Refuse(403, "AuthorizationPermissionMismatch"), Where(target="/vendor.*comp=list"))
    refused = Visit(tmp_path, "--corpora", table).of("vendor container vendor")
    assert refused.startswith("FAIL: the login may not")
    table.write_text("language\tdomain\n")
    unread = Visit(tmp_path, "--corpora", table).of("table of")
    assert unread.startswith("FAIL: it cannot be read: no column 'subdomain'")


def test_a_probe_that_cannot_be_deleted_is_named(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Refuse(403, "AuthorizationPermissionMismatch"), Where(method="DELETE"))
    line = Visit(tmp_path).of("delete a blob")
    assert re.match(r"FAIL: pretrain/\.doctor-\w+ is left; next: delete it; the login may not", line)


def test_a_probe_that_changed(azure: EmulatedAzure) -> None:
    settings = Lines(dict(os.environ)).settings
    container = Container(settings, DefaultAzureCredential())
    container.write()
    with azure.azurite.client() as client:
        client.get_blob_client("results", container.probe).upload_blob(b"other", overwrite=True)
    with pytest.raises(Failed, match="it holds other bytes than were written"):
        container.read()


def test_a_store_that_hangs_up(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Cut("request"), times=2)
    assert Visit(tmp_path).of("storage account").startswith("could not check: no answer came")
