"""The workflow on Azure Batch, with its data in Blob Storage: the real plugins and SDKs against emulated Azure.

One project goes through all of it, in the order of the file: built, asked again, extended while things go wrong. It
takes minutes to build, which is why all stands in one file.
"""

import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from azure.storage.blob import AccountSasPermissions, BlobLeaseClient, ResourceTypes, generate_account_sas

from azure_emulator.azurite import Azurite
from azure_emulator.faults import Lose, Refuse, Where
from azure_emulator.login import IDENTITY_HEADER, make_token
from azure_emulator.service import CONTAINER, EmulatedAzure
from azure_emulator.subscription import BLOB_HOST
from azure_emulator.traffic import SIGNED
from pretrain_llama.stores.blob_lease import LEASE_SECONDS
from processes import wait_for
from project import ROOT, Project, Result, jsonl

# What differs from profiles/azure-batch: the emulator has few slots, and a test does not wait 20 s for a status.
TEST_OPTIONS = ["--seconds-between-status-checks", "1", "--azurebatch-pool-vm-size", "Standard_D2ds_v5"]
# And the machine that submits may have one core, whatever the nodes have.
TEST_OPTIONS += ["--azurebatch-pool-node-count", "2", "--cores", "1"]
PREFIX = "pretrain/"
DEMO = ROOT / "resources" / "demo"
SHARDS = VALIDATION_SETS = 5
PLANTED = "a-secret-of-the-shell"
# Current models of Azure's clients, in an environment of their own.
JUDGE = ROOT / ".venv-azure-contract" / "bin" / "python"


class DemoProject(Project):
    """A project with the demo's text, tokenizer, Llama and mixture, in shards of up to 10 MB."""

    def __init__(self, folder: Path, vendor: str) -> None:
        """vendor: where the demo's drop lies."""
        super().__init__(folder, DEMO / "tokenizer.model", DEMO / "llama")
        self.config["shard_size_bytes"] = 10_000_000
        self.save()
        with open(ROOT / "config" / "corpora.tsv", newline="") as file:
            _, *rows = csv.reader(file, delimiter="\t")
        self.corpora(*([cell.replace("resources/demo/vendor", vendor) for cell in row] for row in rows))
        for name in ("data_ratio.json", "lang_prob.json", "exclude_iterator.json"):
            shutil.copy(ROOT / "config" / "runs" / "demo" / name, folder / "config" / "runs" / "tiny" / name)


class AzureProject(DemoProject):
    """A clone of its own, whose vendor files are blobs, run with the profile azure-batch."""

    def __init__(self, folder: Path, azure: EmulatedAzure) -> None:
        super().__init__(folder, "az://vendor")
        self.azure = azure
        for path in (DEMO / "vendor").glob("*/*"):
            self.upload(f"{path.parent.name}/{path.name}", path.read_bytes())
        for name in ("Snakefile", "rules", "scripts", "profiles", "envs", "config/schemas"):
            (folder / name).unlink()
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        subprocess.run("git init -q && git add -A", shell=True, cwd=folder, check=True)

    def upload(self, name: str, content: bytes) -> None:
        """Deliver a vendor file."""
        with self.azure.azurite.client() as client:
            client.get_blob_client("vendor", name).upload_blob(content, overwrite=True)

    def snakemake(self, *args: str) -> Result:
        return super().snakemake(*args, "--profile", "azure-batch", *TEST_OPTIONS)

    def start(self, *args: str) -> subprocess.Popen:
        """Start snakemake, and return at once."""
        return subprocess.Popen(
            ["snakemake", *args, "--profile", "azure-batch", *TEST_OPTIONS],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def blobs(self) -> dict[str, bytes]:
        """What the workflow made, by path."""
        with self.azure.azurite.client() as client:
            container = client.get_container_client(CONTAINER)
            names = list(container.list_blob_names(name_starts_with=f"{PREFIX}results/"))
            return {name.removeprefix(PREFIX): container.download_blob(name).readall() for name in names}

    def check_same_as(self, local: DemoProject, shards: int) -> int:
        """Check that the store holds the very bytes that a run on one machine makes; return the documents in all."""
        blobs = self.blobs()
        sums = next(name for name in blobs if name.endswith("conservation.json"))
        ends = (".jsonl", ".bin", ".idx", "data_signature.json", "probabilities.json", "mixture.csv", sums)
        names = [name for name in blobs if name.endswith(ends)]
        of_a_shard = 1 + 3 + 2 + 2  # jsonl; .bin, .idx, .rejected.jsonl; held out .bin, .idx; counted .bin, .idx
        assert len(names) == shards * of_a_shard + 2 * VALIDATION_SETS + 4
        for name in names:
            assert blobs[name] == (local.folder / name).read_bytes(), name
        folders = {name[:at] for name in blobs for at, letter in enumerate(name) if letter == "/"}
        assert folders.isdisjoint(blobs), "in a hierarchical namespace, no name is a file and a folder"
        total = json.loads(blobs[sums])["total"]
        return total["documents"] + total["held_out_documents"]


@pytest.fixture(scope="module")
def azure(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedAzure]:
    """Emulated Azure for the whole file."""
    azurite.clear()
    with azurite.client() as client:
        client.create_container("vendor")
        client.create_container(CONTAINER)
    with (
        EmulatedAzure(tmp_path_factory.mktemp("azure"), azurite, most_slots=2) as service,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in (service.environment | {"AZURE_CLIENT_SECRET": PLANTED}).items():
            patch.setenv(name, value)
        yield service


@pytest.fixture(scope="module")
def project(azure: EmulatedAzure, tmp_path_factory: pytest.TempPathFactory) -> AzureProject:
    """The project of this file."""
    assert (DEMO / "tokenizer.model").exists(), "make demo-inputs"
    return AzureProject(tmp_path_factory.mktemp("project"), azure)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> DemoProject:
    """The same project on one machine, to be built beside it."""
    folder = tmp_path_factory.mktemp("local")
    shutil.copytree(DEMO / "vendor", folder / "drop", ignore=shutil.ignore_patterns(".*"))
    return DemoProject(folder, "drop")


def lines_of(drop: Path) -> int:
    """Count the lines of a drop's files: each is a document."""
    openers = {".gz": gzip.open, ".jsonl": open}
    return sum(len(openers[path.suffix](path, "rb").read().splitlines()) for path in drop.glob("*/*"))


def build(project: Project) -> str:
    """Run the workflow; return what it says."""
    result = project.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_the_store_holds_what_a_run_on_one_machine_makes(project: AzureProject, local: DemoProject) -> None:
    assert project.pending()["merge_shard"] == SHARDS
    assert not project.blobs(), "a dry-run writes nothing"
    build(project)
    build(local)
    assert project.check_same_as(local, SHARDS) == lines_of(local.folder / "drop") > 4_000
    assert not project.azure.cluster.pools, "nothing goes on to cost"
    requests = [line for line in project.azure.traffic.requests(BLOB_HOST) if line["method"] != "DELETE"]
    assert len(requests) < 200 * SHARDS, (
        "of a shard: merged, tokenized with keys, compared, named, and looked at from here; its certificate"
    )
    said = [path.read_text() for path in project.azure.folder.glob("tasks/*/tokenize_shard-*/*/stderr.txt")]
    threads = f"threads: {min(4, os.cpu_count())}\n"
    assert [threads in text for text in said] == [os.cpu_count() > 1] * SHARDS, "as the profile and the node allow"
    joined = list(project.azure.folder.glob("tasks/*/join_held_out-*"))
    assert len(joined) == VALIDATION_SETS, "what is held out does not come to this machine"
    assert not project.azure.refused


def test_a_second_run_lists_three_times_and_does_nothing(project: AzureProject) -> None:
    shutil.rmtree(project.folder / ".snakemake")
    tasks, known = project.azure.cluster.added_tasks, len(project.azure.traffic.requests(BLOB_HOST))
    result = project.snakemake()
    assert "Nothing to be done" in result.stdout + result.stderr, result.stdout + result.stderr
    assert project.azure.cluster.added_tasks == tasks
    requests = [r["method"] + r["target"] for r in project.azure.traffic.requests(BLOB_HOST)[known:]]
    listed = [request for request in requests if "comp=list" in request]
    assert len([request for request in listed if f"/{CONTAINER}?" in request]) == 3, listed
    assert len(listed) == 3 + 5, "the results, of them the receipts and the keys alone; the source of each corpus"
    assert len(requests) < 30, requests


def test_a_missing_variable_is_one_sentence_before_anything_is_paid_for(
    project: AzureProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SNAKEMAKE_AZURE_BATCH_RESOURCE_GROUP_NAME")
    monkeypatch.delenv("PRETRAIN_LLAMA_STORE")
    requests = project.azure.traffic.count().requests
    result = project.snakemake()
    assert result.returncode == 1
    text = result.stdout + result.stderr
    assert "SNAKEMAKE_AZURE_BATCH_RESOURCE_GROUP_NAME: it is not set; next: export" in text
    assert "PRETRAIN_LLAMA_STORE: it is not set; next: export PRETRAIN_LLAMA_STORE, where results lie" in text
    assert "Traceback" not in text
    assert project.azure.traffic.count().requests == requests, "nothing was asked of Azure"


def test_faults_cost_a_retry_and_no_document(project: AzureProject, local: DemoProject) -> None:
    """A new vendor file arrives; a node is lost, another preempted, the store is busy; then the main process dies.

    The next run deletes the pool that it left.
    """
    late = jsonl([f"A later tale of {n} ships." for n in range(100)])
    project.upload("en_code_python/part-900.jsonl", late)
    (local.folder / "drop" / "en_code_python" / "part-900.jsonl").write_bytes(late)
    expected = {"merge_shard": 1, "tokenize_shard": 1, "sign_data": 1, "check_conservation": 1}
    pending = project.pending()
    assert {rule: pending[rule] for rule in expected} == expected, "exactly the jobs of the new file"
    project.azure.faults.lose_tasks(Lose(after_s=1))
    project.azure.faults.lose_tasks(Lose(after_s=1, preempted=True))
    project.azure.faults.add(Refuse(503, "ServerBusy"), Where("blob", "PUT", "results/shards"), times=2)
    project.azure.faults.add(Refuse(503, "ServerBusy"), Where("blob", "GET", "results/shards"), times=2)
    before = project.azure.cluster.added_tasks
    process = project.start()
    deadline = time.monotonic() + 120
    while project.azure.cluster.added_tasks < before + 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    refused = project.snakemake()
    assert f"process {process.pid}" in refused.stdout + refused.stderr, "it lets go in half a minute"
    time.sleep(LEASE_SECONDS)
    (left,) = project.azure.cluster.pools
    log = build(project)
    assert f"Deleting Batch Pool {left}, left by" in log
    assert not project.azure.cluster.pools
    assert not project.azure.faults.left(), "all of them happened"
    build(local)
    assert project.check_same_as(local, SHARDS + 1) == lines_of(local.folder / "drop")


def test_the_second_of_two_runs_is_refused_with_the_name_of_the_first(project: AzureProject) -> None:
    for number in range(2):
        project.upload(f"en_code_python/part-91{number}.jsonl", jsonl([f"The last tale, part {number}."]))
    first = project.start()
    deadline = time.monotonic() + 60
    while not project.azure.cluster.jobs and time.monotonic() < deadline:
        time.sleep(0.2)
    pools = set(project.azure.cluster.pools)
    second = project.snakemake()
    assert set(project.azure.cluster.pools) == pools, "the first one's, and no other"
    assert second.returncode == 1
    text = second.stdout + second.stderr
    assert "another run works on this store" in text
    assert f"on {os.uname().nodename}, process {first.pid}" in text
    assert first.wait(120) == 0, first.stdout.read()
    assert not project.azure.cluster.pools, "neither leaves a pool"


@pytest.fixture(scope="module")
def sas(azurite: Azurite) -> str:
    """A signature that may read and list everything."""
    kinds, may = ResourceTypes(service=True, container=True, object=True), AccountSasPermissions(read=True, list=True)
    return generate_account_sas(azurite.account, azurite.key, kinds, may, datetime.now(UTC) + timedelta(hours=1))


def logins(project: AzureProject, known: int) -> set[str]:
    return {line["login"] for line in project.azure.traffic.requests(BLOB_HOST)[known:]}


def test_a_report_is_made_with_a_signature(project: AzureProject, sas: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = len(project.azure.traffic.requests(BLOB_HOST))
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", sas)
    result = project.snakemake("--report", "report.html")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "data_signature" in (project.folder / "report.html").read_text()
    assert SIGNED in logins(project, known)


def test_a_run_with_a_key_fails_at_a_broken_file(
    project: AzureProject, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = len(project.azure.traffic.requests(BLOB_HOST))
    monkeypatch.setenv("AZURE_STORAGE_KEY", azurite.key)
    project.upload("en_code_python/part-920.jsonl", b"no json\n" * 50)
    result = project.snakemake("--retries", "0")
    text = result.stdout + result.stderr
    assert result.returncode == 1
    assert "Batch task failed: FailureExitCode" in text
    assert "SharedKey" in logins(project, known)
    (project.folder / "said.txt").write_text(text)


def test_a_run_that_loses_its_store_stops(project: AzureProject) -> None:
    """As after a laptop's sleep, in which another run began; what was broken before goes on to fail meanwhile."""
    run = project.start()
    wait_for(lambda: project.azure.cluster.jobs, 120)
    with project.azure.azurite.client() as client:
        blob = client.get_blob_client(CONTAINER, f"{PREFIX}results/running.json")
        BlobLeaseClient(blob).break_lease(0)
        blob.acquire_lease(15)
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "this run no longer holds its store (LeaseIdMismatchWithLeaseOperation)" in said, said
    assert not project.azure.cluster.pools


@pytest.mark.skipif(not JUDGE.exists() and not os.environ.get("CI"), reason="make azure-contract")
def test_no_request_differs_from_what_azure_publishes(project: AzureProject) -> None:
    """Of all that this file's runs sent."""
    log = project.azure.traffic.log
    result = subprocess.run([JUDGE, ROOT / "tests/azure_contract/judge.py", log], capture_output=True, text=True)
    calls, *found = result.stdout.splitlines()
    assert (result.returncode, found) == (0, []), result.stderr
    assert json.loads(calls)["add task"] > 10


def test_no_secret_was_written_or_sent(project: AzureProject, azurite: Azurite, sas: str) -> None:
    """What nobody may see: the account's key, signatures, the identity's tokens, a planted secret of the shell.

    All of them were used here, but the last.
    """
    planted = {azurite.key, sas.partition("sig=")[2], make_token("")[0].partition(".")[0], PLANTED, IDENTITY_HEADER}
    secrets = {form for secret in planted for form in (secret, quote(secret, safe=""), unquote(secret))} | {"sig="}
    folders = [project.folder, project.azure.folder / "tasks"]
    sources = {".git", "scripts"}  # a program may say what a secret looks like
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    paths = [path for path in paths if sources.isdisjoint(path.parts)]
    written = {str(path): path.read_bytes() for path in paths} | project.blobs()
    written["requests"] = project.azure.traffic.log.read_bytes()
    assert len(written) > 100
    for secret in secrets:
        assert [name for name, content in written.items() if secret.encode() in content] == [], secret
