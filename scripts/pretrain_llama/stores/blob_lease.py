"""Hold an exclusive lease on an Azure blob, and renew it for as long as this process lives."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobLeaseClient

from pretrain_llama.stores.blob_service import client, code_of, understood

LEASE_SECONDS = 30
# Each attempt to renew is one request, of a quarter of a lease at most, so that no repetition outlives the lease.
RENEWED_EVERY_SECONDS = LEASE_SECONDS / 4
HELD_BY_ANOTHER = "LeaseAlreadyPresent"


def hold(location: str, content: bytes, lost: Callable[[str], None]) -> Callable[[], None] | None:
    """Lease a blob exclusively, and write its content, for as long as this process lives.

    A lease of half a minute is renewed by a thread, so that a killed process lets go within that time.

    Args:
        location: az://{container}/{path} of the blob.
        content: what it holds meanwhile.
        lost: called, in another thread, if the blob is no longer held, with the code of the reason.

    Returns:
        What lets go of it; None if another process holds it.

    Raises:
        OperatorError: the store fails.
    """
    blob = client(location)
    with understood(location):
        try:
            lease = _leased(blob)
        except HttpResponseError as error:
            if code_of(error) == HELD_BY_ANOTHER:
                return None
            raise
        blob.upload_blob(content, overwrite=True, lease=lease)
    let_go = threading.Event()
    threading.Thread(target=_renew, args=(lease, let_go, lost), daemon=True).start()

    def release() -> None:
        let_go.set()
        with suppress(AzureError):
            lease.release()

    return release


def _leased(blob: BlobClient) -> BlobLeaseClient:
    """Lease a blob; it has to be there for that, and a blob that another process holds cannot be written."""
    try:
        return blob.acquire_lease(LEASE_SECONDS)
    except ResourceNotFoundError as error:
        if code_of(error) != "BlobNotFound":
            raise
    with suppress(HttpResponseError):  # another process made it meanwhile; if it cannot be made, the next line says so
        blob.upload_blob(b"")
    return blob.acquire_lease(LEASE_SECONDS)


def _renew(lease: BlobLeaseClient, let_go: threading.Event, lost: Callable[[str], None]) -> None:
    """Renew a lease until it is let go of; tell once if it is lost, as after a laptop's sleep."""
    renewed = time.monotonic()
    while not let_go.wait(RENEWED_EVERY_SECONDS):
        try:
            asked = time.monotonic()
            lease.renew(retry_total=0, read_timeout=RENEWED_EVERY_SECONDS, connection_timeout=RENEWED_EVERY_SECONDS)
            renewed = asked
        except AzureError as error:
            taken = getattr(error, "status_code", None) in (404, 409)
            if let_go.is_set():
                return
            if taken or time.monotonic() - renewed > LEASE_SECONDS:
                lost(code_of(error))
                return
