"""Azure Blob Storage for Snakemake workflows with many and large files.

It is snakemake-storage-plugin-azure 0.4.4 with four differences:

* one paged listing answers what exists, instead of four or five requests a blob;
* transfers are streamed, in parallel blocks: the original reads a whole blob into memory;
* an output may have been made inside the store: its local file then only refers to it,
  {"lies_at": "az://{container}/{path}", "etag": "…"}, and nothing is uploaded;
* glob_wildcards() finds blobs: the original's prefix keeps a leading "/".
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import snakemake_storage_plugin_azure as original
from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline import PipelineResponse
from azure.identity import AzureCliCredential, ChainedTokenCredential, EnvironmentCredential, ManagedIdentityCredential
from azure.storage.blob import BlobServiceClient, ExponentialRetry
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_storage_plugins.io import IOCacheStorageInterface, Mtime, get_constant_prefix
from snakemake_interface_storage_plugins.storage_object import retry_decorator
from snakemake_interface_storage_plugins.storage_provider import StorageQueryValidationResult

# 50,000 blocks of 16 MiB are 781 GiB, more than any shard.
BLOCK_BYTES = 16 << 20
TRANSFERS_AT_ONCE = 8
REFERENCE_BYTES = 4096


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


class StorageProvider(original.StorageProvider):
    """One client for all blobs of an account."""

    def __post_init__(self) -> None:
        # The order is the executor plugin's: az login on a laptop, a managed identity on a node.
        credential = ChainedTokenCredential(AzureCliCredential(), ManagedIdentityCredential(), EnvironmentCredential())
        self.bsc = BlobServiceClient(
            f"https://{self.settings.account_name}.blob.core.windows.net",
            credential,
            max_block_size=BLOCK_BYTES,
            max_chunk_get_size=BLOCK_BYTES,
            retry_policy=ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=7),
            raw_response_hook=throttled_as_busy,
        )

    @classmethod
    @lru_cache(1 << 20)  # Snakemake asks several times for each of a hundred thousand paths
    def is_valid_query(cls, query: str) -> StorageQueryValidationResult:
        """Say whether a query is az://{container}/{path}."""
        return super().is_valid_query(query)

    @classmethod
    def get_storage_object_cls(cls) -> type["StorageObject"]:
        return StorageObject


class StorageObject(original.StorageObject):
    """A blob, or a folder of blobs."""

    def get_inventory_parent(self) -> str | None:
        """Return the key of the listing that covers this blob, or None where none does."""
        root = self.provider.settings.inventory_root
        return self.cache_key(root) if root and f"{self.query}/".startswith(root.rstrip("/") + "/") else None

    async def inventory(self, cache: IOCacheStorageInterface) -> None:
        """Note all blobs below the inventory root, by one paged listing, and the folders that they make up."""
        parent = self.get_inventory_parent()
        if parent is None or parent in cache.exists_in_storage.has_inventory or cache.remaining_wait_time <= 0:
            return
        root = urlparse(self.provider.settings.inventory_root)
        newest: dict[str, float] = {}
        sizes: dict[str, int] = {}
        prefix = root.path.strip("/")
        for blob in self._listed(root.netloc, f"{prefix}/" if prefix else None):
            for path in (PurePosixPath(blob.name), *PurePosixPath(blob.name).parents):
                name = str(path)
                newest[name] = max(newest.get(name, 0.0), blob.last_modified.timestamp())
                sizes[name] = sizes.get(name, 0) + blob.size
        for name, modified in newest.items():
            key = self.cache_key(f"{root.netloc}/{name}")
            cache.mtime[key] = Mtime(storage=modified)
            cache.size[key] = sizes[name]
            cache.exists_in_storage[key] = True
        cache.exists_in_storage.has_inventory.add(parent)

    def _listed(self, container: str, prefix: str | None) -> Iterable:
        try:
            yield from self.bsc.get_container_client(container).list_blobs(name_starts_with=prefix)
        except ResourceNotFoundError:
            raise WorkflowError(
                f"there is no container {container!r} in storage account {self.provider.settings.account_name!r}: "
                "create it, or correct PRETRAIN_LLAMA_STORE"
            ) from None

    @retry_decorator
    def exists(self) -> bool:
        """Say whether the blob is there, or blobs below it."""
        return self.blob_client().exists() or self.is_dir()

    @retry_decorator
    def store_object(self) -> None:
        """Upload the local file or folder, unless it refers to what was made inside the store."""
        path = self.local_path()
        reference = read_reference(path) if path.is_file() else None
        if reference is None:
            super().store_object()
            return
        found = self.blob_client().get_blob_properties().etag.strip('"')
        if (reference["lies_at"], reference["etag"].strip('"')) != (self.query, found):
            raise WorkflowError(
                f"{path} refers to {reference['lies_at']} with ETag {reference['etag']}, and is to be stored as "
                f"{self.query}, whose ETag is {found}: another run wrote it meanwhile; run again"
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
        names = self.container_client().list_blob_names(name_starts_with=prefix.path.lstrip("/"))
        return [f"az://{prefix.netloc}/{name}" for name in names]


def throttled_as_busy(response: PipelineResponse) -> None:
    """Let the SDK repeat what is answered with 429, as it does with 503."""
    if response.http_response.status_code == 429:
        response.http_response.status_code = 503


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
