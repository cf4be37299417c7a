"""Emulated blob storage under the real client: what works, and every fault once."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
)
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient, LinearRetry

from azure_emulator import subscription as names
from azure_emulator.faults import Cut, Delay, Refuse, Shift, Where
from azure_emulator.service import EmulatedAzure

MIB = 1 << 20
STORE = f"https://{names.BLOB_HOST}"
BATCH_SCOPE = "https://batch.core.windows.net/.default"


@pytest.fixture
def blobs(azure: EmulatedAzure) -> ContainerClient:
    """The container `results`, by an identity; a failed request is tried again twice, at once."""
    retry = LinearRetry(backoff=0, retry_total=2, random_jitter_range=0)
    service = BlobServiceClient(STORE, DefaultAzureCredential(), retry_policy=retry)
    return service.get_container_client("results")


def test_blobs_by_an_identity(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    blobs.upload_blob("a/b.txt", b"text")
    assert blobs.download_blob("a/b.txt").readall() == b"text"
    assert [blob.name for blob in blobs.list_blobs(name_starts_with="a/")] == ["a/b.txt"]
    assert blobs.get_blob_client("a/b.txt").get_blob_properties().size == 4
    with pytest.raises(ResourceExistsError):
        blobs.upload_blob("a/b.txt", b"again")
    blobs.delete_blob("a/b.txt")
    assert azure.traffic.requests(names.BLOB_HOST)[0]["login"] == "Bearer"
    assert azure.refused == []


def test_parts_are_joined_inside_the_store_by_an_identity(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    part = os.urandom(2 * MIB)
    with azure.azurite.client() as direct:
        direct.get_blob_client("vendor", "a b.jsonl").upload_blob(part)
    token = DefaultAzureCredential().get_token("https://storage.azure.com/.default").token
    joined = blobs.get_blob_client("joined.jsonl")
    for block in ("0", "1"):
        source = f"{STORE}/vendor/a%20b.jsonl"
        joined.stage_block_from_url(
            block, source, source_offset=MIB, source_length=MIB, source_authorization=f"Bearer {token}"
        )
    joined.commit_block_list([BlobBlock("0"), BlobBlock("1")])
    assert azure.traffic.count(names.BLOB_HOST, "PUT").bytes_from_client < 1000
    assert joined.download_blob().readall() == 2 * part[MIB:]


@pytest.mark.parametrize("scope", [None, BATCH_SCOPE])
def test_a_source_without_a_token_for_storage_is_refused(blobs: ContainerClient, scope: str | None) -> None:
    token = DefaultAzureCredential().get_token(scope).token if scope else "no.token.atall"
    with pytest.raises(HttpResponseError) as caught:
        blobs.get_blob_client("joined").stage_block_from_url(
            "0", f"{STORE}/vendor/a", source_authorization=f"Bearer {token}"
        )
    assert caught.value.status_code in (401, 403)


def test_large_blobs_stream(azure: EmulatedAzure, blobs: ContainerClient, tmp_path: Path) -> None:
    """The proxy runs in this process: what it holds shows in its memory."""
    size = 256 * MIB
    zeros = tmp_path / "zeros"
    with open(zeros, "wb") as file:
        file.truncate(size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
    before = peak_memory_bytes()
    code = """if True:
        import sys, hashlib
        from azure.identity import DefaultAzureCredential
        from azure.storage.blob import BlobClient
        login, blocks = DefaultAzureCredential(), {"max_block_size": 64 << 20, "max_single_put_size": 1 << 20}
        blob = BlobClient(sys.argv[1], "results", "large", credential=login, **blocks)
        with open(sys.argv[2], "rb") as file:
            blob.upload_blob(file)
        hash = hashlib.md5()
        for chunk in blob.download_blob().chunks():
            hash.update(chunk)
        print(hash.hexdigest())"""
    result = subprocess.run([sys.executable, "-c", code, STORE, zeros], capture_output=True, text=True)
    assert result.stdout.strip() == hashlib.md5(bytes(size)).hexdigest(), result.stderr
    count = azure.traffic.count(names.BLOB_HOST)
    assert count.bytes_from_client >= size
    assert count.bytes_to_client >= size
    assert peak_memory_bytes() - before < 64 * MIB


def peak_memory_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_a_stream_of_unknown_length_is_relayed(azure: EmulatedAzure) -> None:
    token = DefaultAzureCredential().get_token("https://storage.azure.com/.default").token
    headers = {"Authorization": f"Bearer {token}", "x-ms-version": "2024-05-04", "x-ms-blob-type": "BlockBlob"}
    answer = requests.put(f"{STORE}/results/chunked", data=iter([b"one ", b"two"]), headers=headers, timeout=30)
    request = azure.traffic.requests(names.BLOB_HOST)[-1]
    assert (request["body"], request["bytes_from_client"]) == ("one two", 7)
    assert (answer.status_code, request["status"]) == (400, 400)  # the store demands a length


def test_a_busy_store_is_asked_again(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    azure.faults.add(Refuse(503, "ServerBusy", retry_after_s=1), Where(method="PUT"), times=2)
    blobs.upload_blob("a", b"text")
    assert azure.faults.left() == 0
    assert [line["status"] for line in azure.traffic.requests(names.BLOB_HOST)] == [503, 503, 201]


def test_too_many_requests_name_the_time_to_wait(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    """The storage client does not ask again by itself after this one, nor does it read Retry-After."""
    azure.faults.add(Refuse(429, "TooManyRequests", retry_after_s=7))
    with pytest.raises(HttpResponseError) as caught:
        blobs.upload_blob("a", b"text")
    assert (caught.value.status_code, caught.value.response.headers["Retry-After"]) == (429, "7")


def test_a_refusal_reads_as_the_services(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    azure.faults.add(Refuse(403, "AuthorizationPermissionMismatch"))
    with pytest.raises(HttpResponseError) as caught:
        blobs.upload_blob("a", b"text")
    assert caught.value.error_code == "AuthorizationPermissionMismatch"


def test_a_cut_upload_is_sent_again(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    azure.faults.add(Cut("request", MIB), Where(target="/results/a"))
    blobs.upload_blob("a", bytes(3 * MIB))
    assert azure.faults.left() == 0
    assert azure.traffic.count(names.BLOB_HOST, "PUT").bytes_from_client > 3 * MIB
    assert blobs.get_blob_client("a").get_blob_properties().size == 3 * MIB


def test_a_cut_download_is_read_on(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    content = os.urandom(3 * MIB)
    blobs.upload_blob("a", content)
    azure.faults.add(Cut("answer", MIB), Where(method="GET"))
    assert blobs.download_blob("a").readall() == content
    assert azure.faults.left() == 0


def test_a_lost_answer_leaves_the_work_done(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    """The trap of a create-only write: the second try finds its own first one."""
    azure.faults.add(Cut("answer"), Where(method="PUT"))
    with pytest.raises(ResourceExistsError):
        blobs.upload_blob("a", b"text")
    assert blobs.download_blob("a").readall() == b"text"


def test_a_delay(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    azure.faults.add(Delay(0.5))
    start = time.monotonic()
    blobs.exists()
    assert time.monotonic() - start >= 0.5


def test_a_wrong_clock(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    azure.faults.add(Shift(-3600))
    wrong = blobs.get_container_properties
    headers: list = []
    wrong(raw_response_hook=lambda response: headers.append(response.http_response.headers["Date"]))
    then = time.mktime(time.strptime(headers[0], "%a, %d %b %Y %H:%M:%S GMT")) - time.timezone
    assert 3500 < time.time() - then < 3700


def test_faults_can_be_called_off(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    azure.faults.add(Refuse(403, "AuthorizationFailure"), times=5)
    azure.faults.clear()
    blobs.upload_blob("a", b"text")
    assert azure.faults.happened == []


def test_counts_and_log(azure: EmulatedAzure, blobs: ContainerClient) -> None:
    blobs.upload_blob("a", b"12345")
    azure.traffic.reset()
    blobs.upload_blob("b", b"12345")
    blobs.download_blob("b").readall()
    put, get = (azure.traffic.count(names.BLOB_HOST, method) for method in ("PUT", "GET"))
    assert (put.requests, put.bytes_from_client, put.bytes_to_client) == (1, 5, 0)
    assert (get.requests, get.bytes_from_client, get.bytes_to_client) == (1, 0, 5)
    log = azure.traffic.log.read_text()
    assert azure.azurite.key not in log
    assert "eyJ" not in log  # how every token begins
    assert azure.traffic.requests(names.BLOB_HOST)[-1]["target"] == "/results/b"
