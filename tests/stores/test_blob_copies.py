"""Copies of blobs inside the store: by one request, waited for where they take time."""

from types import SimpleNamespace

import pytest

from azure_emulator.faults import Refuse, Where
from azure_emulator.service import EmulatedAzure
from azure_emulator.subscription import BLOB_HOST
from pretrain_llama import stores
from pretrain_llama.errors import DataError, OperatorError
from pretrain_llama.stores import blob_service, blobs
from stored import content_of, upload


@pytest.fixture(autouse=True)
def fresh_clients() -> None:
    blob_service.service.cache_clear()


def test_a_copy_takes_one_request(azure: EmulatedAzure) -> None:
    content = b"0123456789" * 1_000_000
    for name, text in (("a pair.bin", content), ("empty.bin", b"")):
        source = upload(azure, name, text)
        azure.traffic.reset()
        stores.copy(source, f"az://results/{name}")
        assert azure.traffic.count(BLOB_HOST).requests == 1
        assert azure.traffic.count(BLOB_HOST).bytes_from_client == 0
        assert content_of(azure, f"az://results/{name}") == text
    with pytest.raises(DataError, match=r"no such blob or container[^\n]*\n  where: az://vendor/none"):
        stores.copy("az://vendor/none", "az://results/none")


@pytest.mark.parametrize("ends", ["success", "failed"])
def test_a_copy_that_takes_time_is_waited_for(monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    """Azurite is always done at once; here is a client that is not."""
    found = iter(["pending", ends])
    client = SimpleNamespace(
        url="",
        start_copy_from_url=lambda url: {"copy_status": "pending", "etag": "first"},
        get_blob_properties=lambda: SimpleNamespace(copy=SimpleNamespace(status=next(found)), etag="last"),
    )
    monkeypatch.setattr(blobs, "client", lambda place: client)
    monkeypatch.setattr(blobs, "COPY_CHECK_SECONDS", 0)
    if ends == "success":
        assert stores.copy("az://vendor/a", "az://results/a") == "last"
    else:
        with pytest.raises(OperatorError, match="the store ended the copy of az://vendor/a: failed"):
            stores.copy("az://vendor/a", "az://results/a")


def test_a_copy_that_a_killed_run_left_pending_is_waited_for(azure: EmulatedAzure) -> None:
    source = upload(azure, "a.bin", b"1234")
    upload(azure, "a.bin", b"12", "results")
    azure.faults.add(Refuse(409, "PendingCopyOperation"), Where("blob", "PUT"))
    stores.copy(source, "az://results/a.bin")
    assert content_of(azure, "az://results/a.bin") == b"1234"
    assert azure.traffic.count(BLOB_HOST, "HEAD").requests == 1, "it asked whether that one had ended"
