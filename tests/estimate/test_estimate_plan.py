"""Estimates: hand-computed numbers, the plan that is made, what grows with what, and every error."""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pretrain_llama import configuration, stores
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import ConfigError, DataError
from pretrain_llama.estimate import plan_cost, tasks
from pretrain_llama.estimate.plan_cost import GB, CorpusEstimate
from pretrain_llama.estimate.tasks import MB
from pretrain_llama.shards import listing, plan
from pretrain_llama.shards.sources import can_be_cut, text_size
from pretrain_llama.stores import SourceFile
from project import ROOT, Project, run_script

BOOKS = Corpus("en", "books", "tales", "az://vendor/books/**", "text", "corpora.tsv:2")
SHIPPED = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
RATES = yaml.safe_load((ROOT / "config" / "estimate.yaml").read_text())
# Round numbers: a task's single requests take 0.5 s, and each of its rates 1, 2, 5 or 10 s a shard of 10 GB.
SETTINGS = {
    "node": {"cores": 10, "tasks": 2, "network_mb_per_second": 1000},
    "rates": {
        "tokenize_mb_per_second_per_core": 100,
        "decompress_mb_per_second_per_core": 200,
        "copy_mb_per_second_per_task": 500,
        "start_seconds": 10,
        "start_here_seconds": 0.25,
        "request_seconds": 0.5,
    },
    "ratios": {"gz": 4, "zst": 5, "parquet": 2, "indexed_per_jsonl": 0.5},
    "prices": {"currency": "EUR", "node_hour": 3.6, "per_10000_writes": 0.1, "per_10000_reads": 0.01, "gb_month": 0.02},
}


@pytest.fixture(autouse=True)
def round_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round sizes of blocks, too: 10 GB are read in 1,000, moved in 500 and copied in 100."""
    for name, size in {"RANGE": 10, "TRANSFER": 20, "SENT_WHOLE": 60, "COPY": 100}.items():
        monkeypatch.setattr(tasks, f"{name}_BYTES", size * MB)


def files(*sizes: int, suffix: str = ".jsonl") -> list[SourceFile]:
    return [SourceFile(f"az://vendor/books/{n:05d}{suffix}", size, 0) for n, size in enumerate(sizes)]


def estimated(
    *sizes: int, suffix: str = ".jsonl", tokenizers: int = 1, held_out: float = 0.0, settings: dict[str, Any] = SETTINGS
) -> CorpusEstimate:
    """The total of a corpus with shards of 10 GB."""
    corpus = plan_cost.estimate_corpus(BOOKS, files(*sizes, suffix=suffix), 10 * GB, tokenizers, settings)
    return plan_cost.total([corpus], tokenizers, held_out, settings)


def test_plain_files_are_copied_in_the_store() -> None:
    """Two files of 10 GB, two shards: 100 blocks each; a task starts in 10 s."""
    merge = estimated(10 * GB, 10 * GB).work["merge_shard"]
    assert (merge.tasks, merge.through_nodes_bytes, merge.copied_bytes) == (2, 0, 20 * GB)
    assert merge.writes == 2 * (100 + 2 * 4), "blocks; and jsonl, receipt, log, benchmark, each looked for before"
    assert merge.reads == 2 * (100 + 2 + 1 + 2 + 2 * 4), "blocks, the sources, the plan, the range's ends, the looks"
    assert merge.longest_seconds == pytest.approx(10 + 17 * 0.5 + 10_000 / 500)
    assert merge.node_seconds == pytest.approx(2 * (10 + 17 * 0.5 + 20) / 2), "two tasks share a node"
    assert merge.here_seconds == pytest.approx(2 * 4 * 0.5), "a look at each of the files, when they are there"


def test_compressed_files_stream_through_a_node() -> None:
    """2.5 GB of gz are 10 GB of jsonl: 250 blocks in, 500 out."""
    merge = estimated(5 * GB // 2, suffix=".jsonl.gz").work["merge_shard"]
    assert (merge.tasks, merge.through_nodes_bytes, merge.copied_bytes) == (1, 12.5 * GB, 0)
    assert (merge.writes, merge.reads) == (500 + 8, 250 + 3 + 1 + 8)
    expanding = 10_000 / (200 * 10)
    assert merge.node_seconds == pytest.approx((10 + 16 * 0.5) / 2 + 12_500 / 1000 + expanding)


def test_a_compressed_file_sends_the_plain_ones_of_its_shard_through_the_node() -> None:
    """A shard of 6 GB of plain jsonl, and 4 GB from 1 GB of gz; a small one is sent by one request."""
    mixed = [*files(6 * GB), SourceFile("az://vendor/books/z.jsonl.gz", GB, 0)]
    merge = plan_cost.estimate_corpus(BOOKS, mixed, 10 * GB, 1, SETTINGS).work["merge_shard"]
    assert (merge.tasks, merge.through_nodes_bytes, merge.copied_bytes) == (1, (6 + 1 + 10) * GB, 0)
    assert (merge.writes, merge.reads) == (500 + 8, 600 + 100 + 3 + 4 + 1 + 8)
    small = plan_cost.estimate_corpus(BOOKS, files(10 * MB, suffix=".jsonl.gz"), 10 * GB, 1, SETTINGS).work[
        "merge_shard"
    ]
    assert small.writes == 8, "40 MB of jsonl go in one piece, which is counted with the file"


def test_blocks_are_as_large_as_the_clients_make_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import snakemake_storage_plugin_azurestream as azurestream
    from azure.storage.blob import BlobServiceClient

    from pretrain_llama.stores import blobs, ranged_reader

    monkeypatch.undo()
    client = BlobServiceClient("https://a.blob.core.windows.net")
    assert tasks.TRANSFER_BYTES == azurestream.BLOCK_BYTES
    assert client._config.max_single_put_size == tasks.SENT_WHOLE_BYTES
    assert tasks.COPY_BYTES == blobs.BLOCK_BYTES
    assert tasks.RANGE_BYTES == ranged_reader.RANGE_BYTES


def test_validation_sets_are_joined_on_nodes() -> None:
    """A twentieth of the pairs, 250 MB of each shard, through a node and back, for each tokenizer."""
    assert estimated(*[10 * GB] * 3).work["join_held_out"].tasks == 0, "nothing is held out"
    total = estimated(*[10 * GB] * 3, tokenizers=2, held_out=0.05)
    join = total.work["join_held_out"]
    assert (join.tasks, join.through_nodes_bytes) == (2, 2 * 2 * 3 * 250 * MB)
    assert (join.writes, join.reads) == (2 * (38 + 2 * 4), 2 * (3 * 25 + 2 + 3 * 3 + 2 * 4))
    assert join.here_seconds == pytest.approx(2 * 4 * 0.5)
    news = plan_cost.estimate_corpus(Corpus("en", "news", "", "", "text", ""), files(10 * GB), 10 * GB, 1, SETTINGS)
    books = [plan_cost.estimate_corpus(BOOKS, files(10 * GB), 10 * GB, 1, SETTINGS) for _ in range(2)]
    assert plan_cost.total([*books, news], 1, 0.05, SETTINGS).work["join_held_out"].tasks == 2, (
        "one of a language and domain"
    )


def test_tokenizing_and_naming_go_by_tokenizer() -> None:
    """A shard of 10 GB has a pair of 5 GB."""
    total = estimated(10 * GB, tokenizers=2)
    tokenize, name = total.work["tokenize_shard"], total.work["name_indexed"]
    assert (tokenize.tasks, tokenize.through_nodes_bytes, tokenize.copied_bytes) == (2, 30 * GB, 0)
    assert (tokenize.writes, tokenize.reads) == (2 * (250 + 2 * 8), 2 * (500 + 9 + 2 * 8))
    assert tokenize.node_seconds == pytest.approx(2 * ((10 + 33 * 0.5) / 2 + 15_000 / 1000 + 10_000 / (100 * 10)))
    assert (name.tasks, name.through_nodes_bytes, name.copied_bytes) == (2, 0, 10 * GB)
    assert (name.writes, name.reads) == (2 * 2 * 4, 2 * (2 + 2 * 4)), "whole files, by a request each"
    assert (name.node_seconds, name.here_seconds) == (0, pytest.approx(2 * (0.25 + (2 + 4 * 4) * 0.5)))
    assert plan_cost.kept_bytes(total, 2, SETTINGS) == 10 * GB + 2 * 2 * 5 * GB


def test_a_tokenizer_is_certified_once() -> None:
    certify = estimated(*[10 * GB] * 30, tokenizers=2).work["certify_tokenizer"]
    assert (certify.tasks, certify.through_nodes_bytes, certify.reads) == (2, 0, 2 * (3 + 2 * 3))
    assert certify.node_seconds == pytest.approx(2 * (300 + 10 + (3 + 3 * 3) * 0.5) / 2)


def test_signing_reads_the_receipts_of_all_shards() -> None:
    of_rules = estimated(*[10 * GB] * 30).work
    sign, check, plot = (of_rules[rule] for rule in ("sign_data", "check_conservation", "plot_documents"))
    assert (sign.tasks, sign.reads, sign.node_seconds) == (1, 30 + 1 + 2 * 3, 0)
    assert sign.here_seconds == pytest.approx(0.25 + (31 + 4 * 3) * 0.5)
    assert (check.tasks, check.reads, check.node_seconds) == (1, 8 * 30 + 1 + 1 + 2 * 3, 0)
    assert check.here_seconds == pytest.approx(0.25 + (242 / 32 + 4 * 3) * 0.5), "32 requests at once"
    assert (plot.tasks, plot.reads, plot.here_seconds) == (1, 32 + 2 * 3, pytest.approx(0.25 + (32 / 32 + 4 * 3) * 0.5))


def test_money_and_wall_clock_by_hand() -> None:
    """Three shards merged in 38.5 s each, in two waves of a node's two tasks, or in one of two nodes'; then named."""
    total = estimated(*[10 * GB] * 3)
    merging = CorpusEstimate("total", work={"merge_shard": total.work["merge_shard"]})
    assert plan_cost.wall_clock_seconds(merging, 1, SETTINGS) == pytest.approx((2 * 38.5, 2 * 38.5))
    assert plan_cost.wall_clock_seconds(merging, 2, SETTINGS) == pytest.approx((38.5, 2 * 38.5))
    assert plan_cost.wall_clock_seconds(merging, 50, SETTINGS) == pytest.approx((38.5, 2 * 38.5)), "two nodes at most"
    merging.work["name_indexed"] = total.work["name_indexed"]
    assert plan_cost.wall_clock_seconds(merging, 2, SETTINGS) == pytest.approx((38.5 + 3 * 9.25, 2 * 38.5)), (
        "without nodes"
    )
    many = estimated(*[10 * GB] * 300)
    many.work = {"merge_shard": many.work["merge_shard"]}
    assert plan_cost.wall_clock_seconds(many, 150, SETTINGS) == pytest.approx((300 * 4 * 0.5, 150 * 38.5)), (
        "longer to look"
    )
    requests = plan_cost.Work(writes=20_000, reads=30_000)
    assert plan_cost.requests_cost(requests, SETTINGS["prices"]) == pytest.approx(2 * 0.1 + 3 * 0.01)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("a.jsonl", 7, 7),
        ("a.json.gz", 10, 40),
        ("a.ndjson.zst", 10, 50),
        ("a.parquet", 10, 20),
        ("a.jsonl.gz", 0, 0),
    ],
)
def test_a_listing_tells_the_size_of_plain_files_alone(name: str, size: int, expected: int) -> None:
    assert plan_cost.jsonl_bytes(SourceFile(name, size, 0), SETTINGS["ratios"]) == expected


def test_shards_are_those_of_the_demos_real_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of compressed files, too, where the ratio is the true one."""
    monkeypatch.chdir(ROOT)
    compressed = 0
    for corpus in configuration.load_corpora(SHIPPED["corpora"]):
        found = stores.list_files(corpus.source, corpus.where)
        listing.write(tmp_path / "listing.tsv", found)
        real = plan.plan_corpus(corpus, plan.empty(corpus), SHIPPED["shard_size_bytes"])
        ratios = [text_size(f, corpus.text_key).about / f.size_bytes for f in found if not can_be_cut(f.path)]
        settings = deepcopy(RATES)
        settings["ratios"]["gz"] = (ratios or [1])[0]
        recorded = listing.matching(listing.read(tmp_path / "listing.tsv"), corpus.source, corpus.where)
        estimate = plan_cost.estimate_corpus(corpus, recorded, SHIPPED["shard_size_bytes"], 1, settings)
        assert estimate.shards == len(real["shards"])
        assert estimate.jsonl_bytes == sum(shard["bytes"] for shard in real["shards"])
        assert estimate.guessed_files == len(ratios)
        compressed += len(ratios)
    assert compressed, "the demo's drop holds a compressed file"


def test_files_written_are_those_of_the_rules() -> None:
    rules = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    for rule, expected in plan_cost.FILES_WRITTEN.items():
        body = re.search(rf"^(?:rule|checkpoint) {rule}:\n(.*?)    shell:", rules, re.M | re.S)[1]
        written = re.findall(r"^    (?:output|log|benchmark):\n((?:        .*\n)+)", body, re.M)
        assert sum(block.count("results/") for block in written) == expected, rule


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst", ".parquet"])
def test_more_data_takes_no_less_of_anything(suffix: str) -> None:
    previous = None
    for count in (1, 3, 30, 300):
        total = estimated(*[3 * GB] * count, suffix=suffix)
        taken = vars(plan_cost.summed_work(total)) | {
            "wall": plan_cost.wall_clock_seconds(total, 4, SETTINGS)[0],
            "kept": plan_cost.kept_bytes(total, 1, SETTINGS),
            "requests": plan_cost.requests_cost(plan_cost.summed_work(total), SETTINGS["prices"]),
        }
        if previous:
            assert all(taken[key] >= previous[key] for key in taken), (count, taken, previous)
            assert taken["node_seconds"] > previous["node_seconds"]
        previous = taken


def test_more_nodes_are_no_slower_and_faster_rates_cost_less() -> None:
    total = estimated(*[7 * GB] * 100, suffix=".jsonl.gz")
    total.work = {rule: total.work[rule] for rule in ("merge_shard", "tokenize_shard")}
    walls = [plan_cost.wall_clock_seconds(total, nodes, SETTINGS)[0] for nodes in (1, 2, 3, 10, 100, 1000)]
    assert walls == sorted(walls, reverse=True)
    assert walls[0] > 10 * walls[-1]
    for group, key in [(g, k) for g in ("node", "rates") for k in SETTINGS[g] if not k.endswith("_seconds")]:
        settings = deepcopy(SETTINGS)
        settings[group][key] *= 2
        assert node_seconds_of_both_formats(settings) < node_seconds_of_both_formats(SETTINGS), key


def node_seconds_of_both_formats(settings: dict[str, Any]) -> float:
    both = [estimated(*[7 * GB] * 100, suffix=suffix, settings=settings) for suffix in (".jsonl", ".jsonl.gz")]
    return sum(plan_cost.summed_work(one).node_seconds for one in both)


def test_files_that_are_not_read_or_hold_nothing_are_errors() -> None:
    with pytest.raises(ConfigError, match=r"00000.csv is no vendor file[^\n]*\n  where: corpora.tsv:2"):
        plan_cost.estimate_corpus(BOOKS, files(1, suffix=".csv"), GB, 1, SETTINGS)
    with pytest.raises(DataError, match="no file of the corpus holds any text"):
        plan_cost.estimate_corpus(BOOKS, files(0, 0), GB, 1, SETTINGS)


@pytest.fixture
def drop(project: Project) -> Path:
    """A listing of a store that the project's two corpora name; nothing of it is here."""
    project.corpora(
        ["en", "books", "tales", "az://vendor/books/**/*.jsonl*", "text"],
        ["ar", "news", "daily", "az://vendor/news/*.parquet", "text"],
    )
    project.config["shard_size_bytes"] = 40 * GB
    project.save()
    books = [SourceFile(f"az://vendor/books/part-{n}/{n:04d}.jsonl", 8 * GB, 0) for n in range(100)]
    books.append(SourceFile("az://vendor/books/old.jsonl.gz", 10 * GB, 0))
    news = [SourceFile(f"az://vendor/news/{n}.parquet", GB, 0) for n in range(3)]
    other = [SourceFile("az://vendor/README.txt", 1000, 0)]
    listing.write(project.folder / "listing.tsv", [*books, *news, *other])
    return project.folder


def test_the_program_says_what_it_knows_and_what_it_guesses(drop: Path) -> None:
    result = run_script("estimate_plan.py", "--listing", "listing.tsv", "--nodes", 8, 32, cwd=drop)
    assert result.returncode == 0, result.stderr
    words = [line.split() for line in result.stdout.splitlines()]
    assert ["en_books_tales", "101", "810", "GB", "21", "842", "GB", "42", "GB"] in words
    assert ["ar_news_daily", "3", "3", "GB", "1", "7.8", "GB", "7.8", "GB"] in words
    assert [row[0] for row in words if row and row[0].isdigit() and row[2] == "h"] == ["8", "32"]
    for part in (
        "guessed: 4 of 104 files are compressed or parquet",
        "4.2 (gz), 4.5 (zst), 2.6 (parquet)",
        "1 files of the listing, 1 kB, are of no corpus",
    ):
        assert part in result.stdout


def test_the_json_holds_the_same_in_plain_units(drop: Path) -> None:
    result = run_script("estimate_plan.py", "--listing", "listing.tsv", "--nodes", 8, "--json", cwd=drop)
    assert result.returncode == 0, result.stderr
    value = json.loads(result.stdout)
    assert [corpus["shards"] for corpus in value["corpora"]] == [21, 1]
    assert value["total"]["work"]["merge_shard"]["copied_bytes"] == 800 * GB
    assert value["total"]["work"]["merge_shard"]["through_nodes_bytes"] == (10 + 42 + 3 + 7.8) * GB
    (row,) = value["nodes"]
    here = ("sign_data", "check_conservation", "plot_documents", "name_indexed")
    without_nodes = sum(value["total"]["work"][rule]["here_seconds"] for rule in here)
    with_nodes = (row["wall_clock_seconds"] - without_nodes) / 3600
    busy = sum(work["node_seconds"] for work in value["total"]["work"].values()) / 3600
    assert busy < row["billed_node_hours"] < 6 * with_nodes, "22 tasks, 4 on a node, need no more than 6 of 8 nodes"
    assert row["nodes_cost"] == pytest.approx(row["billed_node_hours"] * RATES["prices"]["node_hour"])
    spot = row["billed_node_hours"] * RATES["prices"]["spot_node_hour"]
    assert row["spot_nodes_cost"] == pytest.approx(spot)
    assert value["of_no_corpus"] == {"files": 1, "stored_bytes": 1000}


def test_a_configuration_of_earlier_versions_without_a_price_of_spot_nodes(drop: Path, project: Project) -> None:
    """It holds the rates and prices itself."""
    project.config["estimate"] = deepcopy(RATES)
    del project.config["estimate"]["prices"]["spot_node_hour"]
    project.save()
    (drop / "config" / "estimate.yaml").unlink()
    result = run_script("estimate_plan.py", "--listing", "listing.tsv", "--nodes", 8, "--json", cwd=drop)
    assert json.loads(result.stdout)["nodes"][0]["spot_nodes_cost"] is None, result.stderr
    printed = run_script("estimate_plan.py", "--listing", "listing.tsv", "--nodes", 8, cwd=drop)
    assert printed.returncode == 0, printed.stderr


def test_what_is_wrong_stops_the_program_with_the_next_action(drop: Path, project: Project) -> None:
    result = run_script("estimate_plan.py", "--listing", "none.tsv", cwd=drop)
    assert (result.returncode, "configuration error: no such listing" in result.stderr) == (2, True)
    result = run_script("estimate_plan.py", "--listing", "listing.tsv", "--nodes", 0, cwd=drop)
    assert (result.returncode, "argument --nodes: '0' is no whole number of at least 1" in result.stderr) == (2, True)
    rates = RATES | {"prices": {key: value for key, value in RATES["prices"].items() if key != "node_hour"}}
    (drop / "config" / "estimate.yaml").write_text(yaml.safe_dump(rates))
    result = run_script("estimate_plan.py", "--listing", "listing.tsv", cwd=drop)
    assert "'node_hour' is a required property\n  where: config/estimate.yaml: prices" in result.stderr
    project.config["estimate"] = rates
    project.save()
    result = run_script("estimate_plan.py", "--listing", "listing.tsv", cwd=drop)
    assert "'node_hour' is a required property\n  where: config/config.yaml: estimate: prices" in result.stderr
    del project.config["estimate"]
    project.save()
    result = run_script("estimate_plan.py", "--listing", "listing.tsv", cwd=drop)
    assert "no rates and prices\n  where: config/config.yaml\n  next:  write estimate: config/est" in result.stderr
