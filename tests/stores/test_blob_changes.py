"""Blobs that change, vanish or cannot be read while they are merged, and a claim that is lost: each is noticed."""

import gzip
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.blob import BlobLeaseClient

from azure_emulator.faults import Cut, Delay, Refuse, Where
from azure_emulator.service import EmulatedAzure
from azure_emulator.subscription import BLOB_HOST
from pretrain_llama import stores
from pretrain_llama.errors import DataError, OperatorError
from pretrain_llama.shards.merge import merge
from pretrain_llama.shards.merge_in_store import can_be_joined, merge_in_store
from pretrain_llama.stores import Piece, blob_lease, blob_service, ranged_reader
from pretrain_llama.stores import claim as claims
from pretrain_llama.stores.ranged_reader import RangedReader
from processes import wait_for
from project import SHARD, jsonl, run_script, tokenize_shard
from stored import both_ways, plan_blobs, upload

PLACE = "az://results/running.json"


@pytest.fixture(autouse=True)
def fresh_clients() -> None:
    blob_service.service.cache_clear()


@pytest.mark.parametrize("how", ["overwritten", "emptied", "deleted"])
@pytest.mark.parametrize("name", ["small.jsonl", "large.jsonl", "a.jsonl.gz"])
def test_a_blob_that_changed_since_it_was_planned_stops_the_merge(
    azure: EmulatedAzure, tmp_path: Path, name: str, how: str
) -> None:
    content = jsonl(["x" * 1_000] * (1 if name == "small.jsonl" else 200))
    content = gzip.compress(content) if name.endswith(".gz") else content
    upload(azure, f"tales/{name}", content)
    planned = plan_blobs(tmp_path, "az://vendor/tales/*")
    if how in ("overwritten", "emptied"):
        upload(azure, f"tales/{name}", content if how == "overwritten" else b"")
    else:
        with azure.azurite.client() as client:
            client.get_blob_client("vendor", f"tales/{name}").delete_blob()
    problem = "the blob changed or vanished since it was planned"
    if how == "deleted":
        problem += "|no such blob or container"
    with pytest.raises(DataError, match=problem):
        merge(planned, SHARD, tmp_path / "shard.jsonl")
    assert not (tmp_path / "shard.jsonl").exists()
    if can_be_joined(planned, SHARD):
        with pytest.raises(DataError, match=problem):
            merge_in_store(planned, SHARD, f"az://results/{SHARD}.jsonl")
        assert stores.read_small(f"az://results/{SHARD}.jsonl") is None
    if how != "deleted":
        with pytest.raises(DataError, match=f"planned file az://vendor/tales/{name} changed"):
            plan_blobs(tmp_path, "az://vendor/tales/*")


def test_a_blob_that_holds_again_what_it_held_is_taken_by_its_new_etag(azure: EmulatedAzure, tmp_path: Path) -> None:
    content = jsonl(["one", "two"])
    place = upload(azure, "tales/a.jsonl", content)
    plan_blobs(tmp_path, "az://vendor/tales/*")
    upload(azure, "tales/a.jsonl", content)
    with pytest.raises(DataError) as caught:
        plan_blobs(tmp_path, "az://vendor/tales/*")
    (etag,) = re.findall(r"if this one holds again what it held, write (\S+) as its fingerprint", str(caught.value))
    recorded = json.loads((tmp_path / "plan.json").read_text())
    recorded["files"][place]["fingerprint"] = etag
    (tmp_path / "plan.json").write_text(json.dumps(recorded))
    assert both_ways(tmp_path, azure, plan_blobs(tmp_path, "az://vendor/tales/*"))[0] == content


@pytest.mark.parametrize(
    "fault",
    [Refuse(503, "ServerBusy", retry_after_s=1), Refuse(429, "TooManyRequests", retry_after_s=1), Cut("answer", 500)],
    ids=["busy", "throttled", "cut off"],
)
def test_a_failing_store_costs_a_retry_and_no_line(azure: EmulatedAzure, tmp_path: Path, fault: Refuse | Cut) -> None:
    for number in range(3):
        upload(azure, f"tales/{number}.jsonl", jsonl([f"{number} " * 500] * 100))
    planned = plan_blobs(tmp_path, "az://vendor/tales/*")
    azure.faults.add(fault, Where("blob", "PUT" if isinstance(fault, Refuse) else "GET"), times=2)
    both_ways(tmp_path, azure, planned)
    assert not azure.faults.left()


def test_a_store_that_refuses_is_a_clear_error(azure: EmulatedAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    azure.faults.add(Refuse(403, "AuthorizationPermissionMismatch"))
    with pytest.raises(OperatorError, match=r"AuthorizationPermissionMismatch \(403\)(.|\n)*make azure-doctor"):
        stores.list_files("az://vendor/*", "corpora.tsv:2")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    blob_service.service.cache_clear()
    with pytest.raises(OperatorError, match="AZURE_STORAGE_ACCOUNT_NAME is not set"):
        stores.list_files("az://vendor/*", "corpora.tsv:2")


def test_a_blob_in_the_archive_tier_is_told_from_a_login_that_may_not(azure: EmulatedAzure, tmp_path: Path) -> None:
    place = upload(azure, "tales/large.jsonl", jsonl(["x" * 1_000] * 200))
    planned = plan_blobs(tmp_path, "az://vendor/tales/*")
    with azure.azurite.client() as client:
        client.get_blob_client("vendor", "tales/large.jsonl").set_standard_blob_tier("Archive")
    problem = f"the blob is in the archive tier(.|\n)*where: {place}\n(.|\n)*set-tier --auth-mode login .* --tier Hot`"
    for merged in (lambda: merge(planned, SHARD, tmp_path / "s"), lambda: merge_in_store(planned, SHARD, PLACE)):
        with pytest.raises(DataError, match=problem):
            merged()
    azure.faults.add(Refuse(409, "CannotVerifyCopySource"))  # as of the source of a copy
    with pytest.raises(DataError, match=problem):
        stores.join([Piece(place, 0, 4, "")], PLACE)
    with azure.azurite.client() as client:
        client.get_blob_client("vendor", "tales/large.jsonl").set_standard_blob_tier("Hot")
    both_ways(tmp_path, azure, planned)


def test_a_blob_overwritten_between_the_look_and_the_join_stops_the_merge(
    azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = jsonl(["x" * 1_000] * 200)
    upload(azure, "tales/large.jsonl", content)
    planned = plan_blobs(tmp_path, "az://vendor/tales/*")
    join = stores.join

    def overwritten(parts: list[Piece | bytes], place: str) -> str:
        upload(azure, "tales/large.jsonl", content.upper())
        return join(parts, place)

    monkeypatch.setattr(stores, "join", overwritten)
    with pytest.raises(
        DataError, match="the blob changed or vanished since it was planned\n  where: az://vendor/tales/l"
    ):
        merge_in_store(planned, SHARD, f"az://results/{SHARD}.jsonl")
    assert stores.read_small(f"az://results/{SHARD}.jsonl") is None


def test_a_joined_shard_that_was_overwritten_does_not_add_up(
    azure: EmulatedAzure, tmp_path: Path, tokenizer_model: Path
) -> None:
    """Nothing hashed it when it was joined; other text of the same length would pass."""
    upload(azure, "tales/a.jsonl", jsonl(["one", "two"]))
    planned = plan_blobs(tmp_path, "az://vendor/tales/*")
    place = f"az://results/{SHARD}.jsonl"
    merge_in_store(planned, SHARD, place).write(tmp_path / "merge.json")
    upload(azure, f"{SHARD}.receipt.json", (tmp_path / "merge.json").read_bytes(), "results")
    (tmp_path / "shard.jsonl").write_bytes(stores.read_small(place))
    assert tokenize_shard(tmp_path, tokenizer_model).returncode == 0
    of_plan = ["--plans", tmp_path / "plan.json", "--tokenized", tmp_path]
    assert run_script("sign_data.py", *of_plan, "--output", tmp_path / "signature.json").returncode == 0
    check = ["check_conservation.py", *of_plan, "--shards", "az://results", "--signature", tmp_path / "signature.json"]
    azure.traffic.reset()
    assert run_script(*check, "--output", tmp_path / "sums.json").returncode == 0
    assert azure.traffic.count(BLOB_HOST, "HEAD").requests == 1
    upload(azure, f"{SHARD}.jsonl", jsonl(["ONE", "TWO"]), "results")
    spoilt = run_script(*check, "--output", tmp_path / "sums.json")
    assert f"the jsonl of {SHARD} was overwritten after it was joined in the store" in spoilt.stderr
    with azure.azurite.client() as client:
        client.get_blob_client("results", f"{SHARD}.jsonl").delete_blob()
    assert run_script(*check, "--output", tmp_path / "sums.json").returncode == 0, "its documents were counted"


@pytest.mark.parametrize(
    ("status", "code", "error", "says"),
    [
        (412, "SourceConditionNotMet", DataError, "changed or vanished since it was planned"),
        (412, "CannotVerifyCopySource", DataError, "changed or vanished since it was planned"),
        (404, "CannotVerifyCopySource", DataError, "no such blob"),
        (403, "CannotVerifyCopySource", OperatorError, r"CannotVerifyCopySource \(403\)"),
        (412, "LeaseIdMissing", OperatorError, r"LeaseIdMissing \(412\)"),
    ],
)
def test_the_code_says_who_must_act_on_a_refused_copy(
    azure: EmulatedAzure, status: int, code: str, error: type[Exception], says: str
) -> None:
    piece = Piece(upload(azure, "a.jsonl", b"1234"), 0, 4, "")
    azure.faults.add(Refuse(status, code), Where("blob", "PUT"))
    with pytest.raises(error, match=says):
        stores.join([piece], "az://results/joined")
    assert not azure.faults.left()


def test_a_range_that_comes_short_is_no_end_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged_reader, "RANGE_BYTES", 10)
    content = b"0123456789" * 3
    short = RangedReader(lambda start, length: content[start : start + length][:7], 30, "az://vendor/a")
    with (
        short as file,
        pytest.raises(DataError, match=r"7 of 10 bytes came, from byte 0 of 30\n  where: az://vendor/a"),
    ):
        file.read()


def test_a_connection_string_of_another_account_is_refused(
    azure: EmulatedAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azure.azurite.connection_string)
    assert stores.read_small("az://vendor/none") is None
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "another")
    blob_service.service.cache_clear()
    with pytest.raises(OperatorError, match="of the account pretrainteststore, and AZURE_STORAGE_ACCOUNT_NAME names a"):
        stores.read_small("az://vendor/none")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "c2VjcmV0")
    with pytest.raises(OperatorError, match="is no connection string") as refused:
        stores.read_small("az://vendor/none")
    assert "c2VjcmV0" not in str(refused.value)


class Owner:
    """A claim in this process, and what it is told when it is lost."""

    def __init__(self) -> None:
        self.told: list[OperatorError] = []
        claims.claim(PLACE, self.told.append)

    def wait(self, seconds: float = 20) -> str:
        return str(wait_for(lambda: self.told, seconds)[0])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leases are renewed at once, and what was claimed is let go of."""
    releases = []
    monkeypatch.setattr(blob_lease, "RENEWED_EVERY_SECONDS", 0.3)
    monkeypatch.setattr(claims.atexit, "register", releases.append)
    yield
    for release in releases:
        release()


def test_a_place_is_claimed_once_and_again_when_it_is_let_go_of(azure: EmulatedAzure, quick: None) -> None:
    azure.faults.add(Delay(1), Where("blob", "PUT", r"running\.json$"), times=2)
    upload(azure, "running.json", json.dumps({"user": "of the run before"}).encode(), "results")
    first = threading.Thread(target=Owner)
    first.start()
    wait_for(lambda: len(azure.traffic.requests()) > 1)
    with pytest.raises(OperatorError, match=f"another run works on this store: .*process {os.getpid()}"):
        Owner()
    first.join()


def test_a_lost_claim_is_told(azure: EmulatedAzure, quick: None) -> None:
    owner = Owner()
    with azure.azurite.client() as client:
        blob = client.get_blob_client("results", "running.json")
        BlobLeaseClient(blob).break_lease(0)
        blob.acquire_lease(60)
    assert "this run no longer holds its store (LeaseIdMismatchWithLeaseOperation)" in owner.wait()


def test_a_claim_that_cannot_be_renewed_for_long_is_lost(
    azure: EmulatedAzure, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner()
    azure.faults.add(Refuse(503, "ServerBusy"), Where("blob", "PUT", "comp=lease"), times=3)
    wait_for(lambda: not azure.faults.left())
    time.sleep(0.5)
    assert owner.told == [], "one that answers again is not lost"
    monkeypatch.setattr(blob_lease, "LEASE_SECONDS", 1)
    azure.faults.add(Refuse(503, "ServerBusy"), Where("blob", "PUT", "comp=lease"), times=1000)
    assert "this run no longer holds its store (ServerBusy)" in owner.wait()
    azure.faults.clear()
