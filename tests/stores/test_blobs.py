"""Vendor blobs: listed once, read in ranges, joined inside the store."""

import gzip
import io
import json
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from azure.storage.blob import AccountSasPermissions, ContentSettings, ResourceTypes, generate_account_sas
from backports import zstd

from azure_emulator.service import EmulatedAzure
from azure_emulator.subscription import BLOB_HOST
from pretrain_llama import stores
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import ConfigError, DataError, OperatorError
from pretrain_llama.shards import plan
from pretrain_llama.shards.merge import merge
from pretrain_llama.shards.merge_in_store import can_be_joined, merge_in_store
from pretrain_llama.stores import Piece, blob_service, blobs, ranged_reader
from project import SHARD, Project, deliver, jsonl, run_script
from stored import both_ways, content_of, plan_blobs, upload


@pytest.fixture(autouse=True)
def fresh_clients() -> None:
    blob_service.service.cache_clear()


def test_a_glob_lists_once_and_matches_as_the_shell_does(azure: EmulatedAzure, tmp_path: Path) -> None:
    names = [
        "a.jsonl",
        "b/c.jsonl",
        "b/d/e.jsonl",
        ".hidden.jsonl",
        "b/.f/g.jsonl",
        "x.txt",
        "b/h1.jsonl",
        "b/h2.jsonl",
    ]
    for name in names:
        upload(azure, f"drop/{name}", b"{}\n")
        deliver(tmp_path / "drop" / name, b"{}\n")
    upload(azure, "elsewhere.jsonl", b"{}\n")
    with azure.azurite.client() as client:  # as an account with a hierarchy shows its folders
        client.get_blob_client("vendor", "drop/b/d").upload_blob(b"", metadata={"hdi_isfolder": "true"})
    azure.traffic.reset()
    patterns = [
        "*.jsonl",
        "**/*.jsonl",
        "b/**",
        "b/*/*.jsonl",
        "b/h[13].jsonl",
        "b/h[!1].jsonl",
        "?.jsonl",
        "**/h?.jsonl",
    ]
    for pattern in patterns:
        found = [file.path for file in stores.list_files(f"az://vendor/drop/{pattern}", "corpora.tsv:2")]
        local = [file.path for file in stores.list_files(f"{tmp_path}/drop/{pattern}", "corpora.tsv:2")]
        assert [path.removeprefix("az://vendor/") for path in found] == [
            path.removeprefix(f"{tmp_path}/") for path in local
        ], pattern
    assert azure.traffic.count(BLOB_HOST).requests == len(patterns)
    with pytest.raises(ConfigError, match="'az://vendor/drop/no\\*' matches no file"):
        stores.list_files("az://vendor/drop/no*", "corpora.tsv:2")


def test_a_blob_reads_as_a_file(azure: EmulatedAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged_reader, "RANGE_BYTES", 1_000)
    content = bytes(range(256)) * 50
    with stores.open_binary(upload(azure, "a.bin", content)) as file:
        assert file.read() == content
        assert file.seek(-300, io.SEEK_END) == len(content) - 300
        assert file.read(100) == content[-300:-200]
        file.seek(4_999)
        assert file.read(2_002) == content[4_999:7_001]
    with stores.open_binary(upload(azure, "empty.bin", b"")) as file:
        assert file.read() == b""
    assert stores.read_range("az://vendor/a.bin", len(content) + 5, 10) == b""


def test_a_shard_is_joined_inside_the_store(azure: EmulatedAzure, tmp_path: Path) -> None:
    contents = [
        jsonl(["no final newline", "two"], final_newline=False),
        b"",
        jsonl(["windows"], newline="\r\n"),
        jsonl(["long " * 30_000] * 3),
        jsonl(["long, no final newline " * 9_000], final_newline=False),
        jsonl(["last"], final_newline=False),
    ]
    for number, content in enumerate(contents):
        upload(azure, f"tales/{number}.jsonl", content)
    planned = plan_blobs(tmp_path, "az://vendor/tales/*.jsonl")
    assert can_be_joined(planned, SHARD)
    content, _ = both_ways(tmp_path, azure, planned)
    assert content == b"".join(c if c.endswith(b"\n") or not c else c + b"\n" for c in contents)


def test_cut_blobs_lose_and_double_no_line(azure: EmulatedAzure, tmp_path: Path) -> None:
    lines = jsonl([f"A tale of {number} ships. " * (number % 7) for number in range(200)], final_newline=False)
    upload(azure, "tales/a.jsonl", lines)
    planned = plan_blobs(tmp_path, "az://vendor/tales/*", target_bytes=len(lines) // 7)
    shards = plan.shard_names(planned)
    assert len(shards) == 7
    joined = b"".join(both_ways(tmp_path, azure, planned, shard)[0] for shard in shards)
    assert joined == lines + b"\n"


def test_next_to_no_bytes_pass_through_the_client(azure: EmulatedAzure, tmp_path: Path) -> None:
    for number in range(5):
        upload(azure, f"tales/{number}.jsonl", jsonl(["x" * 1_000] * 10_000))
    planned = plan_blobs(tmp_path, "az://vendor/tales/*")
    azure.traffic.reset()
    receipt = merge_in_store(planned, SHARD, f"az://results/{SHARD}.jsonl")
    through = azure.traffic.count(BLOB_HOST)
    assert receipt.bytes > 50_000_000
    assert through.bytes_from_client + through.bytes_to_client < receipt.bytes / 1_000
    assert through.requests == 2 * 5 + 1, "a look and a copy each, no empty block, and the list of blocks"


def test_crumbs_are_sent_together(azure: EmulatedAzure, tmp_path: Path) -> None:
    for number in range(60):
        upload(azure, f"tales/{number:03d}.jsonl", jsonl([f"crumb {number}"], final_newline=number % 2 == 0))
    planned = plan_blobs(tmp_path, "az://vendor/tales/*")
    azure.traffic.reset()
    merge_in_store(planned, SHARD, f"az://results/{SHARD}.jsonl")
    assert azure.traffic.count(BLOB_HOST).requests == 60 + 2, "a read each, one block, and the list of blocks"
    both_ways(tmp_path, azure, planned)


def test_compressed_and_parquet_blobs_are_streamed(azure: EmulatedAzure, tmp_path: Path) -> None:
    texts = [f"A tale of {number} ships." for number in range(1_000)]
    upload(azure, "tales/a.jsonl.gz", gzip.compress(jsonl(texts)))
    upload(azure, "tales/b.parquet", deliver(tmp_path / "b.parquet", jsonl(["parquet"])).read_bytes())
    upload(azure, "tales/c.jsonl", jsonl(["plain"], final_newline=False))
    planned = plan_blobs(tmp_path, "az://vendor/tales/*")
    assert not can_be_joined(planned, SHARD)
    receipt = merge(planned, SHARD, tmp_path / "shard.jsonl")
    merged = [json.loads(line)["text"] for line in (tmp_path / "shard.jsonl").read_bytes().splitlines()]
    assert merged == [*texts, "parquet", "plain"]
    assert [part.lines for part in receipt.ranges] == [1_000, 1, 1]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl"])
def test_a_blob_is_read_as_stored_whatever_its_content_encoding(
    azure: EmulatedAzure, tmp_path: Path, name: str
) -> None:
    """Some tools set it for .gz; the SDK would expand the first range of it, and fail at the next."""
    texts = [random.Random(number).randbytes(100).hex() for number in range(2_000)]
    with azure.azurite.client() as client:
        settings = ContentSettings(content_encoding="gzip")
        compressed = gzip.compress(jsonl(texts))
        client.get_blob_client("vendor", f"tales/{name}").upload_blob(compressed, content_settings=settings)
    if name == "a.jsonl":  # the store would join what is stored
        with pytest.raises(DataError, match=r"none of the first .* lines is a document"):
            plan_blobs(tmp_path, "az://vendor/tales/*")
    else:
        merge(plan_blobs(tmp_path, "az://vendor/tales/*"), SHARD, tmp_path / "shard.jsonl")
        assert (tmp_path / "shard.jsonl").read_bytes() == jsonl(texts)


def test_a_shard_of_too_many_parts_is_refused(azure: EmulatedAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "MOST_BLOCKS", 2)
    piece = Piece(upload(azure, "a.jsonl", b"1234"), 0, 4, "")
    with pytest.raises(OperatorError, match=r"3 blocks, and a blob has at most 2(.|\n)*delete its plan"):
        stores.join([piece] * 3, "az://results/joined")


def test_a_plan_that_another_run_recorded_meanwhile_is_kept(azure: EmulatedAzure) -> None:
    """Two runs list the same drop; what comes between them makes their plans differ."""
    corpus, place = Corpus("en", "books", "tales", "az://vendor/tales/*", "text", ""), "az://results/plan.json"
    upload(azure, "tales/a.jsonl", jsonl(["one"]))
    plan.record(place, plan.plan_corpus(corpus, plan.load(place, corpus), 1 << 40))
    upload(azure, "tales/c.jsonl", jsonl(["three"]))
    early = plan.plan_corpus(corpus, plan.load(place, corpus), 1 << 40)
    upload(azure, "tales/b.jsonl", jsonl(["two"]))
    recorded = plan.plan_corpus(corpus, plan.load(place, corpus), 1 << 40)
    plan.record(place, recorded)
    with pytest.raises(OperatorError, match=r"another run recorded a plan of en_books_tales since(.|\n)*run again"):
        plan.record(place, early)
    assert stores.read_json(place) == recorded
    plan.record(place, plan.plan_corpus(corpus, plan.load(place, corpus), 1 << 40))


def test_planning_costs_two_or_three_requests_a_new_compressed_blob(azure: EmulatedAzure, project: Project) -> None:
    texts = [random.Random(number).randbytes(100).hex() for number in range(2_000)]
    for number in range(3):  # each of another size
        upload(azure, f"tales/{number}.jsonl.zst", zstd.compress(jsonl(texts[number:])))
        upload(azure, f"tales/{number}.jsonl.gz", gzip.compress(jsonl(texts[number + 3 :])))
        upload(azure, f"tales/small-{number}.jsonl.gz", gzip.compress(jsonl(texts[: 9 + number])))
        packed = deliver(project.folder / "a.parquet", jsonl(texts[number:])).read_bytes()
        upload(azure, f"tales/{number}.parquet", packed)
    project.corpora(["en", "books", "tales", "az://vendor/tales/*", "text"])
    project.choose("data_ratio.json", {"books": 1})
    project.choose("lang_prob.json", {"en": 1})
    azure.traffic.reset()
    project.pending("data")
    requests = [line["target"] for line in azure.traffic.requests(BLOB_HOST)]
    kinds = ("zst", r"/\d.*gz", "small", "parquet")
    asked = [sum(re.search(kind, target) is not None for target in requests) for kind in kinds]
    # For its size, for its beginning, which copies share, and of a gzip for its end; one more for the first documents.
    assert asked == [2 * 3, 3 * 3 + 1, 2 * 3, 2 * 3]
    assert len(requests) == 1 + sum(asked), "and one listing"


def test_a_recorded_listing_previews_without_the_store(azure: EmulatedAzure, project: Project) -> None:
    for number in range(4):
        upload(azure, f"tales/{number}.jsonl", jsonl([f"A tale of {number} ships."] * 100))
    upload(azure, "news/a.jsonl.gz", gzip.compress(jsonl(["news"] * 100)))
    project.corpora(
        ["en", "books", "tales", "az://vendor/tales/*", "text"], ["ar", "news", "daily", "az://vendor/news/*", "text"]
    )
    recorded = run_script("list_vendor.py", "--output", "listing.tsv", cwd=project.folder)
    assert recorded.returncode == 0, recorded.stderr
    assert recorded.stdout.startswith("5 files, ")
    azure.traffic.reset()
    preview = project.pending("--config", "listing=listing.tsv")
    assert preview["merge_shard"] == preview["tokenize_shard"] == 3
    assert azure.traffic.count().requests == 0, "nobody was asked"
    refused = project.snakemake("--config", "listing=listing.tsv")
    assert refused.returncode == 1
    assert "a recorded listing is for previews" in refused.stdout + refused.stderr
    assert not (project.folder / "results" / "plan").exists()
    del project.config["estimate"]
    project.save()
    refused = project.snakemake("--dry-run", "--config", "listing=listing.tsv")
    assert "'estimate' is a dependency of 'listing'" in refused.stdout + refused.stderr, "it has the ratios"


@pytest.mark.parametrize("login", ["AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"])
def test_keys_and_signatures_stay_in_the_environment(
    azure: EmulatedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    content = jsonl(["x" * 100_000] * 3)
    joined = login != "AZURE_STORAGE_SAS_TOKEN"  # as the source of a copy, Azurite answers an account's SAS with 500
    name, stored = ("tales/a.jsonl", content) if joined else ("tales/a.jsonl.gz", gzip.compress(content))
    upload(azure, name, stored)
    plan_blobs(tmp_path, "az://vendor/tales/*")
    secrets = [azure.azurite.key]
    if login == "AZURE_STORAGE_CONNECTION_STRING":
        monkeypatch.setenv(login, azure.azurite.connection_string)
    elif login == "AZURE_STORAGE_KEY":
        monkeypatch.setenv(login, azure.azurite.key)
    else:
        signature = generate_account_sas(
            azure.azurite.account,
            azure.azurite.key,
            ResourceTypes(service=True, container=True, object=True),
            AccountSasPermissions(read=True, list=True, write=True, create=True),
            datetime.now(UTC) + timedelta(hours=1),
        )
        monkeypatch.setenv(login, signature)
        secrets.append(signature.partition("sig=")[2])
    args = ["--plan", tmp_path / "plan.json", "--shard", SHARD, "--output", tmp_path / "s.jsonl"]
    args += ["--store", f"az://results/{SHARD}.jsonl", "--receipt", tmp_path / "receipt.json"]
    merged = run_script("merge_shard.py", *args)
    assert merged.returncode == 0, merged.stderr
    made = content_of(azure, f"az://results/{SHARD}.jsonl") if joined else (tmp_path / "s.jsonl").read_bytes()
    assert made == content
    upload(azure, name, stored)
    failed = run_script("merge_shard.py", *args)
    assert failed.returncode == 2
    written = "".join(path.read_text() for path in tmp_path.glob("*.json*"))
    for secret in secrets:
        for text in (written, merged.stdout, merged.stderr, failed.stdout, failed.stderr):
            assert secret not in text
            assert quote(secret, safe="") not in text
