"""The storage of envs/snakemake_plugins, azurestream, with the real clients, against emulated Azure."""

import asyncio
import json
import logging
import sys
from pathlib import Path
from subprocess import CompletedProcess, run
from types import SimpleNamespace

import pytest
import snakemake_storage_plugin_azurestream as azurestream
import tenacity.nap
from snakemake_interface_common.exceptions import WorkflowError

from azure_emulator import subscription as names
from azure_emulator.faults import Refuse, Where
from azure_emulator.service import CONTAINER, EmulatedAzure

SNAKEFILE = """
rule count:
    input: "parts"
    output: "count.txt"
    shell: "ls {input} | wc -l > {output}"
rule split:
    output: directory("parts")
    shell: "mkdir {output}; for part in a b c; do echo $part > {output}/$part.txt; done"
"""
OPTIONS = ["--cores", "1", "--default-storage-provider", "azurestream"]
OPTIONS += ["--storage-azurestream-account-name", names.STORAGE_ACCOUNT]
OPTIONS += ["--default-storage-prefix", f"az://{CONTAINER}/folders"]


@pytest.fixture
def provider(azure: EmulatedAzure, tmp_path: Path) -> azurestream.StorageProvider:
    settings = azurestream.StorageProviderSettings(account_name=names.STORAGE_ACCOUNT)
    return azurestream.StorageProvider(tmp_path / "local", logging.getLogger(), settings=settings)


def upload(azure: EmulatedAzure, name: str, content: bytes) -> None:
    with azure.azurite.client() as client:
        client.get_blob_client(CONTAINER, name).upload_blob(content, overwrite=True)


def test_folders_are_stored_found_and_fetched(azure: EmulatedAzure, tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)

    def snakemake(*more: str) -> CompletedProcess:
        command = [sys.executable, "-m", "snakemake", *OPTIONS, *more]
        return run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    built = snakemake()
    assert built.returncode == 0, built.stderr
    with azure.azurite.client() as client:
        container = client.get_container_client(CONTAINER)
        expected = [f"folders/{name}" for name in ("count.txt", "parts/a.txt", "parts/b.txt", "parts/c.txt")]
        assert [name for name in container.list_blob_names() if not name.endswith(".snakemake_timestamp")] == expected
        assert container.download_blob("folders/count.txt").readall().strip() == b"3"
    for listed in ((), ("--storage-azurestream-inventory-root", f"az://{CONTAINER}/folders")):
        assert "Nothing to be done" in snakemake(*listed).stderr
    upload(azure, "folders/parts/d.txt", b"d\n")
    assert "Updated input files" in snakemake("--dry-run").stdout


def test_what_was_found_is_remembered_until_it_is_forgotten(
    azure: EmulatedAzure, provider: azurestream.StorageProvider
) -> None:
    upload(azure, "a.txt", b"one")
    upload(azure, "folder/b.txt", b"two")
    blob, folder = provider.object(f"az://{CONTAINER}/a.txt"), provider.object(f"az://{CONTAINER}/folder")
    azure.traffic.reset()
    assert (blob.exists(), blob.is_dir(), blob.size(), blob.mtime() > 0) == (True, False, 3, True)
    assert azure.traffic.count(names.BLOB_HOST).requests == 1
    assert (folder.exists(), folder.is_dir(), folder.size(), folder.mtime() > 0) == (True, True, 3, True)
    assert azure.traffic.count(names.BLOB_HOST).requests == 1 + 2, "there is no such blob; there are some below it"
    upload(azure, "a.txt", b"another")
    assert blob.size() == 3
    blob.forget()
    assert blob.size() == 7


def test_what_was_missing_is_asked_for_again_soon(
    azure: EmulatedAzure, provider: azurestream.StorageProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = provider.object(f"az://{CONTAINER}/late.txt")
    assert (blob.exists(), blob.exists()) == (False, False)
    assert azure.traffic.count(names.BLOB_HOST).requests == 2, "a blob, and blobs below it; once"
    with pytest.raises(FileNotFoundError, match=r"late\.txt"):
        blob.size()
    upload(azure, "late.txt", b"here")
    assert not blob.exists()
    monkeypatch.setattr(azurestream, "ASKED_AGAIN_AFTER_SECONDS", 0)
    assert blob.exists()


def test_what_is_stored_or_removed_here_is_known_at_once(
    azure: EmulatedAzure, provider: azurestream.StorageProvider
) -> None:
    blob = provider.object(f"az://{CONTAINER}/made.txt")
    assert not blob.exists()
    blob.local_path().parent.mkdir(parents=True)
    blob.local_path().write_bytes(b"text")
    blob.store_object()
    assert blob.size() == 4
    blob.remove()
    assert not blob.exists()


def test_a_throttled_store_is_asked_again(azure: EmulatedAzure, provider: azurestream.StorageProvider) -> None:
    azure.faults.add(Refuse(429, "TooManyRequests"), Where("blob", "HEAD"))
    azure.faults.add(Refuse(503, "ServerBusy"), Where("blob", "GET"))
    upload(azure, "a.txt", b"one")
    blob = provider.object(f"az://{CONTAINER}/a.txt")
    assert blob.exists()
    blob.local_path().parent.mkdir(parents=True)
    blob.retrieve_object()
    assert blob.local_path().read_bytes() == b"one"
    assert not azure.faults.left()


def test_a_folder_of_an_account_with_a_hierarchy_is_one(
    azure: EmulatedAzure, provider: azurestream.StorageProvider
) -> None:
    """It has a blob of its own there, without content, that says so."""
    with azure.azurite.client() as client:
        client.get_blob_client(CONTAINER, "deep").upload_blob(b"", metadata={"hdi_isfolder": "true"})
    upload(azure, "deep/a.txt", b"one")
    folder = provider.object(f"az://{CONTAINER}/deep")
    assert (folder.is_dir(), folder.size()) == (True, 3)


@pytest.mark.parametrize(
    ("method", "what"), [("PUT", "managed_store"), ("GET", "managed_retrieve"), ("HEAD", "managed_exists")]
)
def test_a_store_that_refuses_says_what_it_answered(
    azure: EmulatedAzure,
    provider: azurestream.StorageProvider,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    what: str,
) -> None:
    """Snakemake's storage tries three times, and would tell of that alone."""
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda seconds: None))
    upload(azure, "a.txt", b"one")
    blob = provider.object(f"az://{CONTAINER}/a.txt")
    blob.local_path().parent.mkdir(parents=True)
    blob.local_path().write_bytes(b"text")
    azure.faults.add(Refuse(403, "AuthorizationPermissionMismatch"), Where("blob", method), times=3)
    answer = r"AuthorizationPermissionMismatch \(403\) about az://results/a\.txt: check the login"
    with pytest.raises(WorkflowError, match=answer):
        asyncio.run(getattr(blob, what)())
    assert not azure.faults.left()


def test_a_listing_that_is_refused_says_what_the_store_answered(azure: EmulatedAzure, tmp_path: Path) -> None:
    azure.faults.add(Refuse(403, "AuthorizationPermissionMismatch"), Where("blob", "GET", "comp=list"))
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    inventory = ["--storage-azurestream-inventory-root", f"az://{CONTAINER}/folders"]
    command = [sys.executable, "-m", "snakemake", *OPTIONS, *inventory]
    refused = run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert "AuthorizationPermissionMismatch (403) about az://results/folders/: check" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_reference_to_what_another_run_wrote_is_told(
    azure: EmulatedAzure, provider: azurestream.StorageProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda seconds: None))
    upload(azure, "a.txt", b"theirs")
    blob = provider.object(f"az://{CONTAINER}/a.txt")
    blob.local_path().parent.mkdir(parents=True)
    blob.local_path().write_text(json.dumps({"lies_at": blob.query, "etag": '"0x1"'}))
    with pytest.raises(WorkflowError, match="another run wrote it meanwhile; run again"):
        asyncio.run(blob.managed_store())
