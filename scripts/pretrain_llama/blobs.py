"""Azure Blob Storage: list, read in ranges, write, and join blobs inside the store.

Credentials come from the environment, and are never arguments: AZURE_STORAGE_CONNECTION_STRING, or
AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_KEY, with AZURE_STORAGE_SAS_TOKEN, or, without either, whatever
DefaultAzureCredential finds: a managed identity on a node, `az login` on a laptop. The SDK repeats what the store
answers with 500, 503 or a time-out.
"""

import base64
import datetime
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from typing import BinaryIO

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.core.pipeline import PipelineResponse
from azure.identity import DefaultAzureCredential
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    BlobProperties,
    BlobSasPermissions,
    BlobServiceClient,
    ExponentialRetry,
    generate_blob_sas,
)

from pretrain_llama.errors import DataError, OperatorError
from pretrain_llama.ranged_reader import RANGE_BYTES, RangedReader
from pretrain_llama.stores import BLOB, Piece, SourceFile

# Put Block From URL takes up to 4,000 MiB; smaller blocks are copied at once, and repeated at less cost.
BLOCK_BYTES = 100 << 20
MOST_BLOCKS = 50_000
BLOCKS_AT_ONCE = 16
LEASE_SECONDS = 30
COPY_CHECK_SECONDS = 2
# Longer than a block is copied for, including its repetitions.
SAS_HOURS = 2


def list_blobs(prefix: str) -> list[SourceFile]:
    """Return the blobs whose place begins with az://{container}/{…}, by one paged listing."""
    container, name = split(prefix)
    with _understood(prefix):
        found = _service().get_container_client(container).list_blobs(name_starts_with=name)
        return [
            SourceFile(f"{BLOB}{container}/{b.name}", b.size, int(b.last_modified.timestamp() * 1e9), b.etag)
            for b in found
        ]


def properties(place: str) -> BlobProperties:
    """Return the size, ETag and so on of a blob."""
    with _understood(place):
        return _client(place).get_blob_properties()


def read_range(place: str, start: int, length: int, etag: str = "") -> bytes:
    """Return up to `length` bytes of a blob, fewer where it ends; with an ETag, of that very blob."""
    condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}
    with _understood(place):
        try:
            return _client(place).download_blob(start, length, max_concurrency=1, **condition).readall()
        except HttpResponseError as error:
            if error.status_code == 416:  # it ends before the range begins
                return b""
            raise


def read_small(place: str) -> bytes | None:
    """Return what a small blob holds; None where there is none."""
    with _understood(place):
        try:
            return _client(place).download_blob().readall()
        except ResourceNotFoundError:
            return None


def write_small(place: str, content: bytes) -> None:
    """Write a small blob."""
    with _understood(place):
        _client(place).upload_blob(content, overwrite=True)


def hold(place: str, content: bytes) -> Callable[[], None] | None:
    """Hold a blob alone, with some content, as long as this process lives.

    A lease of half a minute is renewed by a thread, so that a killed process lets go within that time.

    Returns:
        What lets go of it; None if another process holds it.
    """
    client = _client(place)
    with _understood(place):
        with suppress(ResourceExistsError):
            client.upload_blob(b"")  # it has to be there to be leased
        try:
            lease = client.acquire_lease(LEASE_SECONDS)
        except ResourceExistsError:
            return None
        client.upload_blob(content, overwrite=True, lease=lease)
    let_go = threading.Event()

    def renew() -> None:
        while not let_go.wait(LEASE_SECONDS / 4):
            with suppress(AzureError):
                lease.renew()

    def release() -> None:
        let_go.set()
        with suppress(AzureError):
            lease.release()

    threading.Thread(target=renew, daemon=True).start()
    return release


def open_blob(place: str, etag: str = "") -> BinaryIO:
    """Open a blob to read, in ranges of 8 MiB, four of them asked for ahead; it can be sought."""
    found = properties(place)
    etag = etag or found.etag
    ranges = RangedReader(lambda start, length: read_range(place, start, length, etag), found.size)
    return io.BufferedReader(ranges, RANGE_BYTES)


def join(parts: list[Piece | bytes], place: str) -> str:
    """See stores.join; pieces are copied in blocks of 100 MiB, 16 at once."""
    blocks = [block for part in parts for block in _blocks(part)]
    if len(blocks) > MOST_BLOCKS:
        raise OperatorError(
            f"{len(blocks)} blocks, and a blob has at most {MOST_BLOCKS}",
            where=place,
            action="set a smaller shard_size_bytes, so that fewer files go into one shard",
        )
    client = _client(place)
    names = [base64.b64encode(b"%06d" % number).decode() for number in range(len(blocks))]

    def stage(name: str, block: Piece | bytes) -> None:
        if isinstance(block, bytes):
            with _understood(place):
                client.stage_block(name, block)
        else:
            with _understood(block.path):
                client.stage_block_from_url(
                    name,
                    source_offset=block.start,
                    source_length=block.stop - block.start,
                    headers={"x-ms-source-if-match": block.etag},  # the SDK has no argument for it
                    **_source(block.path),
                )

    with ThreadPoolExecutor(BLOCKS_AT_ONCE) as pool:
        list(pool.map(stage, names, blocks))
    with _understood(place):
        return client.commit_block_list([BlobBlock(name) for name in names])["etag"]


def copy(source: str, target: str) -> str:
    """See stores.copy. Inside an account, Azure may be done at once; otherwise it is asked until it is.

    Raises:
        DataError: there is no source.
        OperatorError: the store gave up.
    """
    client = _client(target)
    with _understood(source):
        started = client.start_copy_from_url(_client(source).url)
    status, etag = started["copy_status"], started["etag"]
    while status == "pending":
        time.sleep(COPY_CHECK_SECONDS)
        with _understood(target):
            found = client.get_blob_properties()
        status, etag = found.copy.status, found.etag
    if status != "success":
        raise OperatorError(f"the store ended the copy of {source}: {status}", where=target, action="run again")
    return etag


def _blocks(part: Piece | bytes) -> Iterator[Piece | bytes]:
    if isinstance(part, bytes):
        yield part
        return
    for start in range(part.start, part.stop, BLOCK_BYTES):
        yield Piece(part.path, start, min(start + BLOCK_BYTES, part.stop), part.etag)


def _source(place: str) -> dict[str, str]:
    """Return the URL of a blob that is copied, and what allows the store to read it."""
    client, credential = _client(place), _service().credential
    if hasattr(credential, "get_token"):
        token = credential.get_token("https://storage.azure.com/.default").token
        return {"source_url": client.url, "source_authorization": f"Bearer {token}"}
    if not hasattr(credential, "account_key"):  # the URL carries the SAS of the environment
        return {"source_url": client.url}
    expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=SAS_HOURS)
    signed = generate_blob_sas(
        client.account_name,
        client.container_name,
        client.blob_name,
        account_key=credential.account_key,
        permission=BlobSasPermissions(read=True),
        expiry=expiry,
    )
    return {"source_url": f"{client.url}?{signed}"}


def split(place: str) -> tuple[str, str]:
    """Return the container and the name of az://{container}/{name}."""
    container, _, name = place.removeprefix(BLOB).partition("/")
    return container, name


def _client(place: str) -> BlobClient:
    container, name = split(place)
    return _service().get_blob_client(container, name)


@cache
def _service() -> BlobServiceClient:
    retries = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=7)
    options = {"retry_policy": retries, "raw_response_hook": _throttled_as_busy}
    connection = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    if connection:
        return BlobServiceClient.from_connection_string(connection, **options)
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise OperatorError(
            "AZURE_STORAGE_ACCOUNT_NAME is not set, and a path begins with az://",
            where="the environment",
            action="export AZURE_STORAGE_ACCOUNT_NAME=<the storage account>",
        )
    secret = os.environ.get("AZURE_STORAGE_KEY") or os.environ.get("AZURE_STORAGE_SAS_TOKEN")
    return BlobServiceClient(f"https://{account}.blob.core.windows.net", secret or DefaultAzureCredential(), **options)


def _throttled_as_busy(response: PipelineResponse) -> None:
    """Let the SDK repeat what is answered with 429, as it does with 503."""
    if response.http_response.status_code == 429:
        response.http_response.status_code = 503


@contextmanager
def _understood(place: str) -> Iterator[None]:
    """Turn what the SDK raises into an error that says who must act; its own texts may hold signed URLs, and go."""
    try:
        yield
    except ResourceNotFoundError:
        raise DataError(
            "no such blob or container", where=place, action="put it back, or correct the path that names it"
        ) from None
    except ResourceModifiedError:
        raise DataError(
            "the blob changed or vanished since it was planned",
            where=place,
            action="put back what it held, and deliver new text as a new blob",
        ) from None
    except AzureError as error:
        code = getattr(error, "error_code", None) or type(error).__name__
        raise OperatorError(
            f"the store answers {code} ({getattr(error, 'status_code', None) or 'no answer'})",
            where=place,
            action="check the login, the identity's role and the network: make azure-doctor; then run again",
        ) from None
