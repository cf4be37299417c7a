"""A storage account with a hierarchical namespace: folders are real, and stay."""

import logging
from pathlib import Path

import pytest
import snakemake_storage_plugin_azurestream as azurestream
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient, BlobType

from azure_emulator import subscription as names
from azure_emulator.service import CONTAINER, EmulatedAzure
from doctor import Visit
from executor_runs import SNAKEFILE, Run
from pretrain_llama.stores.blob_lease import hold
from pretrain_llama.stores.blobs import list_blobs
from stored import both_ways, plan_blobs


@pytest.fixture
def service(azure: EmulatedAzure) -> BlobServiceClient:
    """A client of the account, as the programs use it."""
    azure.blobs.hierarchical = True
    return BlobServiceClient(f"https://{names.BLOB_HOST}", DefaultAzureCredential(), retry_total=0)


def put(service: BlobServiceClient, name: str, content: bytes = b"x", container: str = CONTAINER) -> None:
    service.get_blob_client(container, name).upload_blob(content, overwrite=True)


def stored(tmp_path: Path, query: str) -> azurestream.StorageObject:
    settings = azurestream.StorageProviderSettings(account_name=names.STORAGE_ACCOUNT)
    provider = azurestream.StorageProvider(tmp_path / "local", logging.getLogger(), settings=settings)
    return provider.object(f"az://{CONTAINER}/{query}")


# The stand-in


def test_folders_are_made_and_listed_and_stay(service: BlobServiceClient) -> None:
    put(service, "a/b/c.txt")
    container = service.get_container_client(CONTAINER)
    assert list(container.list_blob_names()) == ["a", "a/b", "a/b/c.txt"]
    with pytest.raises(HttpResponseError, match="DirectoryIsNotEmpty"):
        container.delete_blob("a")
    container.delete_blob("a/b/c.txt")
    assert list(container.list_blob_names()) == ["a", "a/b"]
    container.delete_blob("a/b")


def test_a_path_is_a_file_or_a_folder(service: BlobServiceClient) -> None:
    put(service, "a/b.txt")
    for name in ("a", "a/b.txt/c"):
        with pytest.raises(HttpResponseError, match="ResourceTypeMismatch"):
            put(service, name)


def test_what_such_accounts_do_not_have(service: BlobServiceClient) -> None:
    with pytest.raises(HttpResponseError, match="FeatureNotYetSupported"):
        service.get_blob_client(CONTAINER, "page").upload_blob(b"x" * 512, blob_type=BlobType.PAGEBLOB)
    with pytest.raises(HttpResponseError, match="only / is supported"):
        list(service.get_container_client(CONTAINER).walk_blobs(delimiter="-"))


# What we do with it


def test_vendor_files_are_found_without_folders_and_joined(
    azure: EmulatedAzure, service: BlobServiceClient, tmp_path: Path
) -> None:
    for n in range(3):
        put(service, f"tales/part-{n}/a.jsonl", b'{"text": "a tale"}\n' * 50_000, "vendor")
    assert [file.path for file in list_blobs("az://vendor/tales/")] == [
        f"az://vendor/tales/part-{n}/a.jsonl" for n in range(3)
    ]
    planned = plan_blobs(tmp_path, "az://vendor/tales/**/*.jsonl")
    assert planned["files"].keys() == {f"az://vendor/tales/part-{n}/a.jsonl" for n in range(3)}
    content, _ = both_ways(tmp_path, azure, planned)
    assert len(content) == 3 * 50_000 * len(b'{"text": "a tale"}\n')


def test_a_store_is_claimed(service: BlobServiceClient) -> None:
    """A lease is of the file alone; its folders can hold others meanwhile."""
    release = hold(f"az://{CONTAINER}/pretrain/results/running.json", b"{}", lambda why: None)
    put(service, "pretrain/results/shards/a.jsonl")
    assert hold(f"az://{CONTAINER}/pretrain/results/running.json", b"{}", lambda why: None) is None
    release()


def test_a_folder_that_is_left_empty_is_nothing(service: BlobServiceClient, tmp_path: Path) -> None:
    put(service, "run/parts/a.txt")
    folder = stored(tmp_path, "run/parts")
    assert folder.exists() and folder.is_dir() and folder.size() == 1
    service.get_blob_client(CONTAINER, "run/parts/a.txt").delete_blob()
    assert not stored(tmp_path, "run/parts").exists()


def test_a_folder_is_fetched_and_removed(service: BlobServiceClient, tmp_path: Path) -> None:
    for name in ("run/parts/a.txt", "run/parts/b/c.txt", "run/parts.txt"):
        put(service, name)
    folder = stored(tmp_path, "run/parts")
    folder.retrieve_object()
    assert sorted(path.name for path in folder.local_path().rglob("*") if path.is_file()) == ["a.txt", "c.txt"]
    folder.remove()
    assert list(service.get_container_client(CONTAINER).list_blob_names()) == ["run", "run/parts.txt"]


def test_wildcards_match_no_folders(service: BlobServiceClient, tmp_path: Path) -> None:
    for name in ("run/a.txt", "run/b/c.txt"):
        put(service, name)
    found = list(stored(tmp_path, "run/{name}").list_candidate_matches())
    assert found == [f"az://{CONTAINER}/run/a.txt", f"az://{CONTAINER}/run/b/c.txt"]


def test_the_doctor_finds_no_file_in_a_folder(azure: EmulatedAzure, service: BlobServiceClient, tmp_path: Path) -> None:
    put(service, "books/x.jsonl", container="vendor")
    service.get_blob_client("vendor", "books/x.jsonl").delete_blob()
    table = tmp_path / "corpora.tsv"
    table.write_text("language\tdomain\tsubdomain\tsource\ttext_key\nen\tbooks\ta\taz://vendor/books/*.jsonl\ttext\n")
    visit = Visit(tmp_path, "--corpora", table)
    assert visit.of("vendor container vendor").startswith("FAIL: there is no blob below books")
    assert visit.of("delete a blob") == "ok: it is gone"


def test_a_run_and_a_second_one_that_does_nothing(
    azure: EmulatedAzure, service: BlobServiceClient, tmp_path: Path
) -> None:
    """With folders as outputs, on a node, and looked at by one listing and one by one."""
    snakefile = SNAKEFILE.replace('"greeting.txt"', 'directory("greetings")').replace(
        "> {output}", "> greeting && mkdir {output} && mv greeting {output}/a.txt"
    )
    run = Run(tmp_path / "project", snakefile)
    assert run.end() == 0, run.log
    container = service.get_container_client(CONTAINER)
    assert container.download_blob("greetings/greetings/a.txt").readall().startswith(b"hello from tvm-")
    for number, more in enumerate(([], ["--storage-azurestream-inventory-root", f"az://{CONTAINER}/greetings"])):
        again = Run(tmp_path / f"again-{number}", snakefile, *more)
        assert again.end() == 0 and "Nothing to be done" in again.log, again.log
    for name in ("a.txt", ".snakemake_timestamp"):  # Snakemake's own, of folders
        container.delete_blob(f"greetings/greetings/{name}")
    last = Run(
        tmp_path / "last", snakefile, "--storage-azurestream-inventory-root", f"az://{CONTAINER}/greetings", "-n"
    )
    assert last.end() == 0 and "Nothing to be done" not in last.log, "an empty folder is no output"
