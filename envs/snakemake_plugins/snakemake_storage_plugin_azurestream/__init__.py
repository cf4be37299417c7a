"""Azure Blob Storage for Snakemake workflows with many and large files.

It is snakemake-storage-plugin-azure 0.4.4 with these differences:

* one paged listing answers what exists, instead of four or five requests a blob;
* where no listing does, as on a node, what was found of a blob is remembered, not asked for ten times. What nodes
  write is to be forgotten here: the executor azurebatch does that;
* transfers are streamed, in parallel blocks: the original reads a whole blob into memory;
* an output may have been made inside the store: its local file then only refers to it,
  {"lies_at": "az://{container}/{path}", "etag": "…"}, and nothing is uploaded;
* a store that refuses is told by its answer: the original tells that it was asked three times;
* glob_wildcards() finds blobs: the original's prefix keeps a leading "/".
"""

import json
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import snakemake_storage_plugin_azure as original
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import BlobProperties, BlobServiceClient, ExponentialRetry
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_storage_plugins.io import IOCacheStorageInterface, Mtime, get_constant_prefix
from snakemake_interface_storage_plugins.storage_provider import StorageQueryValidationResult

from snakemake_storage_plugin_azurestream.answers import refused, repeated, throttled_as_busy
from snakemake_storage_plugin_azurestream.login import credential

# 50,000 blocks of 16 MiB are 781 GiB, more than any shard.
BLOCK_BYTES = 16 << 20
TRANSFERS_AT_ONCE = 8
# Snakemake asks several times in a row whether a blob is there.
ASKED_AGAIN_AFTER_SECONDS = 2
REFERENCE_BYTES = 4096
QUERY = re.compile(r"az://[\w-]+/")


@dataclass
class StorageProviderSettings(original.StorageProviderSettings):
    """The original's, and where the one listing begins."""

    inventory_root: str | None = field(
        default=None,
        metadata={
            "help": "az://container/prefix whose blobs are listed once, to know what exists: "
            "the same as --default-storage-prefix",
            "env_var": False,
            "required": False,
        },
    )


@dataclass(frozen=True)
class Found:
    """A blob, or a folder of blobs: its size, and when the newest was written, in seconds since 1970."""

    size_bytes: int
    modified: float
    is_folder: bool = False


class StorageProvider(original.StorageProvider):
    """One client for all blobs of an account."""

    def __post_init__(self) -> None:
        self.bsc = BlobServiceClient(
            f"https://{self.settings.account_name}.blob.core.windows.net",
            credential(),
            max_block_size=BLOCK_BYTES,
            max_chunk_get_size=BLOCK_BYTES,
            retry_policy=ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=7),
            raw_response_hook=throttled_as_busy,
        )
        self._known: dict[tuple[str, str], tuple[float, Found | None]] = {}
        # Snakemake asks for these hundreds of thousands of times.
        root = self.settings.inventory_root
        self.inventory_prefix = f"{root.rstrip('/')}/" if root else None
        self.inventory_key = self.key_of(*_split(root)) if root else None

    def key_of(self, container: str, path: str) -> str:
        """Return what Snakemake's cache knows a blob by: its local path."""
        return f"{self.local_prefix}/{container}/{path}"

    def look(self, container: str, path: str) -> Found | None:
        """Return what is known of a blob, or of the blobs below a path; None where there is nothing.

        What was found is remembered until `forget`, that there was nothing for a few seconds.
        """
        asked, found = self._known.get((container, path), (0.0, None))
        if found is None and time.monotonic() - asked > ASKED_AGAIN_AFTER_SECONDS:
            found = self._ask(container, path)
            self._known[container, path] = (time.monotonic(), found)
        return found

    def forget(self, container: str, path: str) -> None:
        """Ask again: a blob was written or removed."""
        self._known.pop((container, path), None)

    def _ask(self, container: str, path: str) -> Found | None:
        try:
            blob = self.bsc.get_blob_client(container, path).get_blob_properties()
        except ResourceNotFoundError:
            blob = None
        if blob is not None and not is_folder(blob):
            return Found(blob.size, blob.last_modified.timestamp())
        below = list(self.files(container, f"{path}/"))
        newest = max((blob.last_modified.timestamp() for blob in below), default=0.0)
        return Found(sum(blob.size for blob in below), newest, is_folder=True) if below else None

    def files(self, container: str, prefix: str) -> Iterable[BlobProperties]:
        """Yield the blobs whose names begin so, by one paged listing, without the folders of an account that has some.

        Only the metadata of a blob tell what it is, so they are listed, too.
        """
        found = self.bsc.get_container_client(container).list_blobs(name_starts_with=prefix, include=["metadata"])
        return (blob for blob in found if not is_folder(blob))

    @classmethod
    def is_valid_query(cls, query: str) -> StorageQueryValidationResult:
        """Say whether a query is az://{container}/{path}, and if not, why."""
        # Snakemake asks a hundred thousand times, and to parse a URL takes longer.
        if QUERY.match(query):
            return StorageQueryValidationResult(query=query, valid=True)
        return super().is_valid_query(query)

    @classmethod
    def get_storage_object_cls(cls) -> type["StorageObject"]:
        return StorageObject


class StorageObject(original.StorageObject):
    """A blob, or a folder of blobs."""

    def __post_init__(self) -> None:
        self.bsc = self.provider.bsc
        self.container_name, self.blob_path = _split(self.query)
        self._local_suffix = self._local_suffix_from_key(self.blob_path)

    def get_prefix_blobs(self, prefix: str | None = None) -> Iterable[BlobProperties]:
        """Return the blobs of the folder, or of those below a prefix."""
        return self.provider.files(self.container_name, prefix or f"{self.blob_path}/")

    def get_inventory_parent(self) -> str | None:
        """Return the key of the listing that covers this blob, or None where none does."""
        prefix = self.provider.inventory_prefix
        return self.provider.inventory_key if prefix and self.query.startswith(prefix) else None

    async def inventory(self, cache: IOCacheStorageInterface) -> None:
        """Note all blobs below the inventory root, by one paged listing, and the folders that they make up."""
        parent = self.get_inventory_parent()
        if parent is None or parent in cache.exists_in_storage.has_inventory or cache.remaining_wait_time <= 0:
            return
        container, prefix = _split(self.provider.inventory_prefix)
        newest: dict[str, float] = {}
        sizes: dict[str, int] = {}
        for blob in self._listed(container, prefix):
            name, modified = blob.name, blob.last_modified.timestamp()
            while name:
                newest[name] = max(newest.get(name, 0.0), modified)
                sizes[name] = sizes.get(name, 0) + blob.size
                name = name.rpartition("/")[0]
        for name, modified in newest.items():
            key = self.provider.key_of(container, name)
            cache.mtime[key] = Mtime(storage=modified)
            cache.size[key] = sizes[name]
            cache.exists_in_storage[key] = True
        cache.exists_in_storage.has_inventory.add(parent)

    def _listed(self, container: str, prefix: str) -> Iterable:
        try:
            yield from self.provider.files(container, prefix)
        except ResourceNotFoundError:
            raise WorkflowError(
                f"there is no container {container!r} in storage account {self.provider.settings.account_name!r}: "
                "create it, or correct PRETRAIN_LLAMA_STORE"
            ) from None
        except AzureError as error:
            raise refused(error, f"az://{container}/{prefix}") from None

    @repeated
    def _look(self) -> Found | None:
        return self.provider.look(self.container_name, self.blob_path)

    def forget(self) -> None:
        """Ask again whether the blob is there: it was written or removed, here or on a node."""
        self.provider.forget(self.container_name, self.blob_path)

    def exists(self) -> bool:
        """Say whether the blob is there, or blobs below it."""
        return self._look() is not None

    def is_dir(self) -> bool:
        """Say whether there is no such blob, but blobs below it."""
        return (found := self._look()) is not None and found.is_folder

    def mtime(self) -> float:
        """Return when the blob, or the newest below it, was written, in seconds since 1970."""
        return self._found().modified

    def size(self) -> int:
        """Return the size of the blob, or of those below it, in bytes."""
        return self._found().size_bytes

    def _found(self) -> Found:
        if (found := self._look()) is None:
            raise FileNotFoundError(self.query)
        return found

    @repeated
    def remove(self) -> None:
        """Delete the blob, or all of the folder, if it is there.

        In an account with a hierarchy, a folder can be deleted when nothing is left in it.
        """
        container = self.container_client()
        names = [self.blob_path, *container.list_blob_names(name_starts_with=f"{self.blob_path}/")]
        for name in sorted(names, key=lambda name: name.count("/"), reverse=True):
            with suppress(ResourceNotFoundError):
                container.delete_blob(name)
        self.forget()

    @repeated
    def retrieve_object(self) -> None:
        """Download the blob, or the blobs of the folder."""
        original.StorageObject.retrieve_object.__wrapped__(self)

    @repeated
    def store_object(self) -> None:
        """Upload the local file or folder, unless it refers to what was made inside the store."""
        path = self.local_path()
        if path.is_dir():
            for file in (file for file in path.rglob("*") if file.is_file()):
                self.upload_blob_to_storage(file, PurePosixPath(self.blob_path) / file.relative_to(path))
        elif path.exists() and (reference := read_reference(path)):
            self._check_reference(reference)
        elif path.exists():
            self.upload_blob_to_storage(path, self.blob_path)
        self.forget()

    def _check_reference(self, reference: dict[str, str]) -> None:
        found = self.blob_client().get_blob_properties().etag.strip('"')
        if (reference["lies_at"], reference["etag"].strip('"')) != (self.query, found):
            raise WorkflowError(
                f"{self.local_path()} refers to {reference['lies_at']} with ETag {reference['etag']}, and is to be "
                f"stored as {self.query}, whose ETag is {found}: another run wrote it meanwhile; run again"
            )

    def upload_blob_to_storage(self, local_path: Path | None = None, remote_path: Path | None = None) -> None:
        """Upload a file in parallel blocks; the blob appears when it is whole."""
        with open(local_path, "rb") as file:
            self.blob_client(str(remote_path)).upload_blob(file, overwrite=True, max_concurrency=TRANSFERS_AT_ONCE)

    def download_blob_from_storage(self, blob_path: str | None = None, local_path: Path | None = None) -> None:
        """Download a blob in parallel ranges; each of them has to be of the same version."""
        local_path = Path(local_path or self.local_path())
        local_path.parent.mkdir(parents=True, exist_ok=True)
        with open(local_path, "wb") as file:
            self.blob_client(blob_path).download_blob(max_concurrency=TRANSFERS_AT_ONCE).readinto(file)

    def list_candidate_matches(self) -> Iterable[str]:
        """Return the queries of all blobs that begin as this query does before its first wildcard."""
        prefix = urlparse(get_constant_prefix(self.query))
        found = self.provider.files(self.container_name, prefix.path.lstrip("/"))
        return [f"az://{prefix.netloc}/{blob.name}" for blob in found]


def is_folder(blob: BlobProperties) -> bool:
    """Say whether a blob stands for a folder, as each folder has one in an account with a hierarchical namespace."""
    return bool((blob.metadata or {}).get("hdi_isfolder"))


def _split(query: str) -> tuple[str, str]:
    """Return the container and the path of az://{container}/{path}."""
    container, _, path = query.removeprefix("az://").partition("/")
    return container, path


def read_reference(path: Path) -> dict[str, str] | None:
    """Return what a local file refers to; None if it is a file of its own."""
    if path.stat().st_size > REFERENCE_BYTES:
        return None
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return None
    is_reference = isinstance(content, dict) and content.keys() == {"lies_at", "etag"}
    return content if is_reference else None
