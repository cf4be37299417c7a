"""The backend of Azure blobs: the functions that local.py has for files, and joins and copies inside a store."""

import base64
import datetime
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import BinaryIO

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobProperties, BlobSasPermissions, generate_blob_sas

from pretrain_llama.errors import OperatorError
from pretrain_llama.stores import globs
from pretrain_llama.stores.blob_service import client, code_of, service, split, understood
from pretrain_llama.stores.globs import no_match as nothing_found  # noqa: F401
from pretrain_llama.stores.locations import BLOB, Piece, SourceFile
from pretrain_llama.stores.ranged_reader import RANGE_BYTES, RangedReader

# Put Block From URL takes up to 4,000 MiB; smaller blocks are copied at once, and repeated at less cost.
BLOCK_BYTES = 100 << 20
MOST_BLOCKS = 50_000
BLOCKS_AT_ONCE = 16
COPY_CHECK_SECONDS = 2
FOLDER_MARK = "hdi_isfolder"
# Longer than a block is copied for, including its repetitions.
SAS_HOURS = 2


def list_files(pattern: str, _where: str) -> list[SourceFile]:
    """Return the blobs that a glob matches."""
    matches = globs.matcher(pattern)
    return [file for file in list_blobs(globs.beginning(pattern)) if matches(file.path)]


def list_blobs(prefix: str) -> list[SourceFile]:
    """Return the blobs whose location begins with az://{container}/{…}, by one paged listing.

    The folders of an account with a hierarchy are left out: each has a blob of its own there, without content.
    """
    container, name = split(prefix)
    with understood(prefix):
        found = service().get_container_client(container).list_blobs(name_starts_with=name, include=["metadata"])
        return [
            SourceFile(
                f"{BLOB}{container}/{b.name}",
                b.size,
                int(b.last_modified.timestamp() * 1e9),
                b.etag,
                bytes(b.content_settings.content_md5 or b"").hex(),
            )
            for b in found
            if not (b.metadata or {}).get(FOLDER_MARK)
        ]


def size_bytes(location: str) -> int:
    """Return the size of a blob."""
    return properties(location).size


def properties(location: str, etag: str = "") -> BlobProperties:
    """Return the size, ETag and so on of a blob; with an ETag, of that very blob."""
    with understood(location):
        return client(location).get_blob_properties(**_only(etag))


def delete(location: str) -> None:
    """Delete a blob, if it is there."""
    with understood(location), suppress(ResourceNotFoundError):
        client(location).delete_blob()


def exists(location: str) -> bool:
    """Say whether there is such a blob."""
    return etag_of(location) is not None


def etag_of(location: str) -> str | None:
    """Return the ETag of a blob; None where there is none."""
    with understood(location):
        try:
            return client(location).get_blob_properties().etag
        except ResourceNotFoundError:
            return None


def read_range(location: str, start: int, length: int, etag: str = "") -> bytes:
    """Return up to `length` bytes of a blob as stored, fewer where it ends; with an ETag, of that very blob."""
    with understood(location):
        try:
            asked = {"max_concurrency": 1, "decompress": False} | _only(etag)  # whatever its Content-Encoding
            return client(location).download_blob(start, length, **asked).readall()
        except HttpResponseError as error:
            if error.status_code == 416:  # it ends before the range begins
                return b""
            raise


def read_small(location: str) -> bytes | None:
    """Return what a small blob holds; None where there is none."""
    with understood(location):
        try:
            return client(location).download_blob().readall()
        except ResourceNotFoundError:
            return None


def count_lines(location: str) -> int:
    """Return the number of newlines in a small blob; 0 where there is none."""
    return (read_small(location) or b"").count(b"\n")


def write_small(location: str, content: bytes) -> None:
    """Write a small blob."""
    with understood(location):
        client(location).upload_blob(content, overwrite=True)


def open_binary(location: str, etag: str = "", _buffering: int = -1) -> BinaryIO:
    """Open a blob for reading, in ranges of 8 MiB, four of them prefetched; it is seekable."""
    found = properties(location, etag)
    ranges = RangedReader(lambda start, length: read_range(location, start, length, found.etag), found.size, location)
    return io.BufferedReader(ranges, RANGE_BYTES)


def join(parts: list[Piece | bytes], location: str) -> str:
    """See stores.join; pieces are copied in blocks of 100 MiB, 16 at once."""
    blocks = [block for part in parts for block in _blocks(part)]
    if len(blocks) > MOST_BLOCKS:
        raise OperatorError(
            f"{len(blocks)} blocks, and a blob has at most {MOST_BLOCKS}",
            where=location,
            action="set a smaller shard_size_bytes, so that fewer files go into one shard, and start the corpus over, "
            "since planned shards stay as they are: delete its plan in results/plan and its shards in results/shards "
            "and results/tokenized",
        )
    target = client(location)
    names = [base64.b64encode(b"%06d" % number).decode() for number in range(len(blocks))]

    def stage(name: str, block: Piece | bytes) -> None:
        if isinstance(block, bytes):
            with understood(location):
                target.stage_block(name, block)
        else:
            with understood(block.path):
                target.stage_block_from_url(
                    name,
                    source_offset=block.start,
                    source_length=block.stop - block.start,
                    headers={"x-ms-source-if-match": block.etag},  # the SDK has no argument for it
                    **_source(block.path),
                )

    with ThreadPoolExecutor(BLOCKS_AT_ONCE) as pool:
        list(pool.map(stage, names, blocks))
    with understood(location):
        return target.commit_block_list([BlobBlock(name) for name in names])["etag"]


def copy(source: str, target: str) -> str:
    """See stores.copy. Inside an account, Azure may be done at once; otherwise it is asked until it is.

    Raises:
        DataError: there is no source.
        OperatorError: the store gave up.
    """
    with understood(source):
        started = _start_copy(source, target)
    status, etag = started["copy_status"], started["etag"]
    if status == "pending":
        status, etag = _ended_copy(target)
    if status != "success":
        raise OperatorError(f"the store ended the copy of {source}: {status}", where=target, action="run again")
    return etag


def _start_copy(source: str, target: str) -> dict[str, str]:
    """Start a copy; one that a killed run started is waited for, since the store lets nobody write there meanwhile."""
    made, url = client(target), client(source).url
    try:
        return made.start_copy_from_url(url)
    except HttpResponseError as error:
        if code_of(error) != "PendingCopyOperation":
            raise
    _ended_copy(target)
    return made.start_copy_from_url(url)


def _ended_copy(target: str) -> tuple[str, str]:
    """Wait until no copy to a blob is pending; return how it ended, and the blob's ETag."""
    while True:
        with understood(target):
            found = client(target).get_blob_properties()
        if found.copy.status != "pending":
            return found.copy.status, found.etag
        time.sleep(COPY_CHECK_SECONDS)


def _only(etag: str) -> dict[str, object]:
    """Return the condition that a blob is still the one that had an ETag."""
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}


def _blocks(part: Piece | bytes) -> Iterator[Piece | bytes]:
    if isinstance(part, bytes):
        yield part
        return
    for start in range(part.start, part.stop, BLOCK_BYTES):
        yield Piece(part.path, start, min(start + BLOCK_BYTES, part.stop), part.etag)


def _source(location: str) -> dict[str, str]:
    """Return the URL of a blob that is copied, and what allows the store to read it."""
    blob, credential = client(location), service().credential
    if hasattr(credential, "get_token"):
        token = credential.get_token("https://storage.azure.com/.default").token
        return {"source_url": blob.url, "source_authorization": f"Bearer {token}"}
    if not hasattr(credential, "account_key"):  # the URL carries the SAS of the environment
        return {"source_url": blob.url}
    expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=SAS_HOURS)
    signed = generate_blob_sas(
        blob.account_name,
        blob.container_name,
        blob.blob_name,
        account_key=credential.account_key,
        permission=BlobSasPermissions(read=True),
        expiry=expiry,
    )
    return {"source_url": f"{blob.url}?{signed}"}
