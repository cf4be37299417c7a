"""What differs in a storage account with a hierarchical namespace, on top of Azurite, which has none.

https://learn.microsoft.com/azure/storage/blobs/data-lake-storage-known-issues, "Blob APIs": a listing without a
delimiter has folders, too, as blobs with the metadata hdi_isfolder; "/" is the only delimiter; a folder can be deleted
when it is empty; page blobs are not supported. A path is either a file or a folder. What is not emulated: the order of
a listing (by the parts of a path), the data lake's own interface, access control lists.
"""

from urllib.parse import unquote

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobProperties, ContainerClient

from azure_emulator.azurite import Azurite
from azure_emulator.exchange import Request, ServiceError

MARK = {"hdi_isfolder": "true"}


def _place(request: Request) -> tuple[str, str]:
    container, _, name = unquote(request.path).lstrip("/").partition("/")
    return container, name


def _is_folder(container: ContainerClient, name: str) -> bool:
    try:
        found: BlobProperties = container.get_blob_client(name).get_blob_properties()
    except ResourceNotFoundError:
        return False
    return bool((found.metadata or {}).get("hdi_isfolder"))


def check(azurite: Azurite, request: Request) -> None:
    """Refuse what such an account refuses.

    Raises:
        ServiceError: it is one of these.
    """
    name, query = _place(request), request.query
    if query.get("comp") == "list" and query.get("delimiter", "/") != "/":
        raise ServiceError(400, "InvalidQueryParameterValue", "delimiter: only / is supported")
    if request.headers.get("x-ms-blob-type", "BlockBlob") != "BlockBlob" or query.get("comp") in (
        "page",
        "appendblock",
    ):
        raise ServiceError(400, "FeatureNotYetSupportedForHierarchicalNamespaceAccounts", "block blobs alone")
    if not name[1] or request.method not in ("PUT", "DELETE"):
        return
    with azurite.client() as client:
        container = client.get_container_client(name[0])
        if not _is_folder(container, name[1]):
            parents = name[1].split("/")[:-1]
            for depth in range(1, len(parents) + 1):
                parent = container.get_blob_client("/".join(parents[:depth]))
                if parent.exists() and not _is_folder(container, parent.blob_name):
                    raise ServiceError(409, "ResourceTypeMismatch", f"{parent.blob_name} is a file")
        elif request.method == "PUT":
            raise ServiceError(409, "ResourceTypeMismatch", f"{name[1]} is a folder")
        elif next(iter(container.list_blob_names(name_starts_with=f"{name[1]}/")), None):
            raise ServiceError(409, "DirectoryIsNotEmpty", "This operation is not permitted on a non-empty directory.")


def make_folders(azurite: Azurite, request: Request) -> None:
    """Make the folders of what was written; they stay when it is deleted."""
    container, name = _place(request)
    if request.method != "PUT" or "/" not in name:
        return
    parts = name.split("/")[:-1]
    with azurite.client() as client:
        for depth in range(1, len(parts) + 1):
            folder = client.get_blob_client(container, "/".join(parts[:depth]))
            try:
                folder.upload_blob(b"", metadata=MARK)
            except ResourceExistsError:
                continue
