"""Blobs of the same text: told by the store's Content-MD5, or by reading a little of them, and the whole at last."""

import base64
from pathlib import Path

import pytest
from azure.storage.blob import BlobBlock

from azure_emulator.service import EmulatedAzure
from azure_emulator.subscription import BLOB_HOST
from pretrain_llama import stores
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import DataError
from pretrain_llama.shards import copies, plan
from pretrain_llama.shards.copies import Copies
from pretrain_llama.stores import blob_service
from project import deliver, jsonl
from stored import upload

CORPUS = Corpus("en", "books", "tales", "az://vendor/tales/*", "text", "corpora.tsv:2")
TALES = jsonl([f"A tale of {number} ships, and of the sea. {number**7}" for number in range(8_000)])
OTHER_MIDDLE = TALES.replace(b"A tale of 4000 ", b"A TALE OF 4000 ")


@pytest.fixture(autouse=True)
def fresh_clients() -> None:
    blob_service.service.cache_clear()


def upload_in_blocks(azure: EmulatedAzure, name: str, content: bytes) -> None:
    """As large blobs are uploaded: the store computes no Content-MD5 of them."""
    half = len(content) // 2
    with azure.azurite.client() as client:
        blob = client.get_blob_client("vendor", name)
        blocks = [base64.b64encode(number).decode() for number in (b"0", b"1")]
        for block, part in zip(blocks, (content[:half], content[half:]), strict=True):
            blob.stage_block(block, part)
        blob.commit_block_list([BlobBlock(block) for block in blocks])


def look(folder: Path, *others: Corpus) -> tuple[Copies, dict[str, plan.Plan]]:
    corpora = [CORPUS, *others]
    recorded = {one.name: plan.load(folder / f"{one.name}.json", one) for one in corpora}
    plans = {one.name: plan.plan_corpus(one, recorded[one.name], 1 << 40) for one in corpora}
    return copies.look(plans, recorded, corpora, "refuse"), plans


def test_a_content_md5_tells_a_copy_without_a_request(azure: EmulatedAzure, tmp_path: Path) -> None:
    upload(azure, "tales/a.jsonl", TALES)
    upload(azure, "tales/b.jsonl", OTHER_MIDDLE)
    listed = stores.list_files(CORPUS.source, "")
    assert all(len(file.content_md5) == 32 for file in listed)
    azure.traffic.reset()
    look(tmp_path)
    assert azure.traffic.count(BLOB_HOST).requests == 2, "the listing, and the look at the first documents"
    upload(azure, "tales/c.jsonl", TALES)
    azure.traffic.reset()
    with pytest.raises(
        DataError, match=r"az://vendor/tales/c\.jsonl holds the same text as az://vendor/tales/a\.jsonl"
    ):
        look(tmp_path)
    assert azure.traffic.count(BLOB_HOST).requests <= 3, "and whether they are blank"


def test_blobs_without_it_are_read_at_their_beginning_and_whole_only_where_that_is_the_same(
    azure: EmulatedAzure, tmp_path: Path
) -> None:
    for number in range(4):
        upload_in_blocks(azure, f"tales/{number}.jsonl", TALES.replace(b"A tale of 0 ", b"A tale of %d " % number))
    upload_in_blocks(azure, "tales/other.jsonl", TALES + b"\n")
    azure.traffic.reset()
    found, plans = look(tmp_path)
    plan.record(tmp_path / f"{CORPUS.name}.json", plans[CORPUS.name])
    count = azure.traffic.count(BLOB_HOST)
    assert count.requests == 2 + 4 and count.bytes_to_client < 6 * (1 << 16) + 20_000, "of those of one size"
    upload_in_blocks(azure, "tales/later.jsonl", OTHER_MIDDLE)
    found, plans = look(tmp_path)
    assert not found.notes
    read = [path for path, entry in plans[CORPUS.name]["files"].items() if "text_blake3" in entry]
    assert sorted(read) == ["az://vendor/tales/0.jsonl", "az://vendor/tales/later.jsonl"]
    plan.record(tmp_path / f"{CORPUS.name}.json", plans[CORPUS.name])
    azure.traffic.reset()
    look(tmp_path)
    assert azure.traffic.count(BLOB_HOST).requests == 1, "all of it is recorded"
    upload(azure, "tales/copy.jsonl", OTHER_MIDDLE)
    with pytest.raises(DataError, match=r"tales/copy\.jsonl holds the same text as az://vendor/tales/later\.jsonl"):
        look(tmp_path)


def test_a_blob_and_a_file_here_may_hold_the_same_text(azure: EmulatedAzure, tmp_path: Path) -> None:
    upload(azure, "tales/a.jsonl", TALES)
    deliver(tmp_path / "here" / "a.jsonl.gz", TALES)
    here = Corpus("en", "books", "here", f"{tmp_path}/here/*", "text", "corpora.tsv:3")
    with pytest.raises(DataError, match=r"here/a\.jsonl\.gz holds the same text as az://vendor/tales/a\.jsonl"):
        look(tmp_path, here)


def test_a_plan_of_blobs_of_an_earlier_version_takes_their_md5s(azure: EmulatedAzure, tmp_path: Path) -> None:
    for name in "ab":
        upload(azure, f"tales/{name}.jsonl", TALES)
    old = plan.extend(plan.empty(CORPUS), stores.list_files(CORPUS.source, ""), CORPUS, 1 << 40)
    for entry in old["files"].values():
        del entry["content_md5"]
    plan.record(tmp_path / f"{CORPUS.name}.json", old)
    found, plans = look(tmp_path)
    assert "az://vendor/tales/b.jsonl and az://vendor/tales/a.jsonl" in found.notes[0]
    assert all(entry["content_md5"] for entry in plans[CORPUS.name]["files"].values())
