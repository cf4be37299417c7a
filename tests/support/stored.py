"""Vendor blobs of tests: put there, planned, looked at."""

from pathlib import Path

from azure_emulator.service import EmulatedAzure
from pretrain_llama.configuration import Corpus
from pretrain_llama.receipts import MergeReceipt
from pretrain_llama.shards import plan
from pretrain_llama.shards.merge import merge
from pretrain_llama.shards.merge_in_store import merge_in_store
from pretrain_llama.stores import blob_service
from project import SHARD


def upload(azure: EmulatedAzure, name: str, content: bytes, container: str = "vendor") -> str:
    with azure.azurite.client() as client:
        client.get_blob_client(container, name).upload_blob(content, overwrite=True)
    return f"az://{container}/{name}"


def content_of(azure: EmulatedAzure, place: str) -> bytes:
    container, name = blob_service.split(place)
    with azure.azurite.client() as client:
        return client.get_blob_client(container, name).download_blob().readall()


def plan_blobs(folder: Path, pattern: str, target_bytes: int = 1 << 40) -> plan.Plan:
    corpus = Corpus("en", "books", "tales", pattern, "text", "corpora.tsv:2")
    planned = plan.plan_corpus(corpus, plan.load(folder / "plan.json", corpus), target_bytes)
    plan.record(folder / "plan.json", planned)
    return planned


def both_ways(folder: Path, azure: EmulatedAzure, planned: plan.Plan, shard: str = SHARD) -> tuple[bytes, MergeReceipt]:
    """Merge a shard inside the store, and by streaming; the bytes have to be the same."""
    joined = merge_in_store(planned, shard, f"az://results/{shard}.jsonl")
    streamed = merge(planned, shard, folder / "streamed.jsonl")
    content = content_of(azure, f"az://results/{shard}.jsonl")
    assert content == (folder / "streamed.jsonl").read_bytes()
    assert joined.adds_up() and joined.bytes == streamed.bytes == len(content)
    taken = [[(part.path, part.bytes, part.newline_added) for part in one.ranges] for one in (joined, streamed)]
    assert taken[0] == taken[1]
    assert (joined.lines, joined.blake3) == (None, ""), "nobody has counted them"
    return content, joined
