"""Planning: even shards, append-only; what is planned is shown before anything runs."""

import base64
import gzip
import random
from pathlib import Path

import pytest
from backports import zstd

from pretrain_llama.configuration import Corpus
from pretrain_llama.files import read_json
from pretrain_llama.shards import plan
from pretrain_llama.shards.cutting import MOST_RANGES, Stretch, cut
from pretrain_llama.shards.sources import HEAD_BYTES, SAMPLE_BYTES, first_bytes, text_size
from pretrain_llama.stores import blobs, source_file
from project import Project, deliver, jsonl, run_script


@pytest.mark.parametrize(
    "sizes",
    [[1_000] * 40_000, [300_000_000_000], [1_000, 20_000, 3_000_000, 500_000, 900_000_000], [70_000] * 800],
    ids=["crumbs", "one giant", "mixed", "some"],
)
@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_shards_are_within_a_tenth_of_the_target_and_hold_every_byte_once(sizes: list[int], suffix: str) -> None:
    files = [(f"{number}.{suffix}", size) for number, size in enumerate(sizes)]
    target = max(sum(sizes) // 40, 1_000_000)
    shards = cut([Stretch(path, 0, size) for path, size in files], target)
    if suffix == "jsonl" or max(sizes) <= target / 10:
        assert all(0.9 * target <= shard["bytes"] <= 1.1 * target for shard in shards)
    assert min(shard["bytes"] for shard in shards) >= target / 2, "no tiny last shard"
    ranges: dict[str, list] = {}
    for shard in shards:
        for part in shard["ranges"]:
            ranges.setdefault(part["path"], []).append(part)
    assert sum(shard["bytes"] for shard in shards) == sum(sizes)
    for path, size in files:
        if suffix == "jsonl":
            assert [part["start"] for part in ranges[path]] == [0, *(part["stop"] for part in ranges[path][:-1])]
            assert ranges[path][-1]["stop"] == size
        else:
            assert ranges[path] == [{"path": path, "start": 0, "stop": None}], "compressed files are never cut"


@pytest.mark.parametrize(("last", "shards"), [(49, [200]), (50, [150, 50]), (99, [101, 99])])
def test_what_is_left_after_a_whole_file_is_a_shard_from_half_a_part_on(last: int, shards: list[int]) -> None:
    files = [("a.jsonl.gz", 200 - last), ("b.jsonl.gz", last)]
    assert [shard["bytes"] for shard in cut([Stretch(path, 0, size) for path, size in files], 100)] == shards


def test_a_shard_has_no_more_ranges_than_the_blocks_of_a_blob_allow() -> None:
    """Two for each, as a range may lack its newline."""
    files = [(f"{number}.jsonl", 300_000) for number in range(45_001)]
    shards = cut([Stretch(path, 0, size) for path, size in files], 40_000_000_000)
    assert [len(shard["ranges"]) for shard in shards] == [20_000, 20_000, 5_001]
    taken = [(part["path"], part["stop"]) for shard in shards for part in shard["ranges"]]
    assert taken == files, "each once, in their order"
    assert 2 * MOST_RANGES + shards[0]["bytes"] // blobs.BLOCK_BYTES < blobs.MOST_BLOCKS


def test_compressed_files_count_by_what_they_expand_to(tmp_path: Path) -> None:
    content = jsonl([f"tale {number} of the sea, the ships and the wind" for number in range(20_000)])
    size = len(content)
    for suffix in (".jsonl.gz", ".jsonl.zst"):
        assert text_size(source_file(deliver(tmp_path / f"whole{suffix}", content)), "text").about == size
    halves = [content[: size // 2], content[size // 2 :]]
    (tmp_path / "members.jsonl.gz").write_bytes(b"".join(map(gzip.compress, halves)) + gzip.compress(b""))
    (tmp_path / "frames.jsonl.zst").write_bytes(
        b"".join(zstd.compress(content[i : i + 9_999]) for i in range(0, size, 9_999))
    )
    for name in ("members.jsonl.gz", "frames.jsonl.zst"):
        assert text_size(source_file(tmp_path / name), "text").about == pytest.approx(size, rel=0.3), name
    assert text_size(source_file(deliver(tmp_path / "a.parquet", content)), "text").about == pytest.approx(
        size, rel=0.3
    )
    row = b'{"text": "a tale", "page": "%s"}\n' % (b"of the page " * 100)
    beside = text_size(source_file(deliver(tmp_path / "page.parquet", row)), "text").about
    assert beside < 200, "the other columns are left where they are"
    assert text_size(source_file(deliver(tmp_path / "empty.jsonl.gz", b"")), "text").about == 1, (
        "it has a range all the same"
    )
    (tmp_path / "nothing.jsonl.gz").touch()
    assert text_size(source_file(tmp_path / "nothing.jsonl.gz"), "text").about == 0


def dense(lines: int) -> bytes:
    """Text that is compressed to more than half, so that the first 64 KiB of a .zst hold no whole block."""
    chance = random.Random(0)
    return jsonl([base64.b64encode(chance.randbytes(150)).decode() for _ in range(lines)])


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_the_size_that_a_format_tells_wins_over_what_the_beginning_expands_to(tmp_path: Path, suffix: str) -> None:
    chance = random.Random(0)
    looser = jsonl([chance.randbytes(100).hex() for _ in range(4_000)])
    for number, content in enumerate([looser + dense(4_000), dense(4_000) + looser]):
        path = deliver(tmp_path / f"{number}{suffix}", content)
        assert path.stat().st_size > 2 * HEAD_BYTES[suffix.removeprefix(".jsonl")], "more than what is read of it"
        assert text_size(source_file(path), "text").about == len(content)


def test_dense_text_of_a_size_that_is_not_told_is_no_empty_file(tmp_path: Path) -> None:
    content, compressor = dense(4_000), zstd.ZstdCompressor()
    half = len(content) // 2
    streamed = compressor.compress(content[:half]) + compressor.compress(content[half:]) + compressor.flush()
    (tmp_path / "a.jsonl.zst").write_bytes(streamed)
    file = source_file(tmp_path / "a.jsonl.zst")
    assert text_size(file, "text").about == pytest.approx(len(content), rel=0.4)
    assert content.startswith(first_bytes(file)) and len(first_bytes(file)) >= SAMPLE_BYTES


def test_a_dry_run_of_the_planner_shows_shards_bytes_and_tokens(project: Project) -> None:
    result = run_script("plan_shards.py", "--dry-run", cwd=project.folder)
    assert result.returncode == 0, result.stderr
    header, english, arabic = (line.split() for line in result.stdout.splitlines()[:3])
    assert header[:3] == ["corpus", "files", "shards"]
    size = (project.folder / "vendor/en_books_tales/a.jsonl").stat().st_size
    assert english[:5] == ["en_books_tales", "1", "3", "3", f"{size:,}"]
    assert arabic[0] == "ar_news_daily"
    assert not (project.folder / "results").exists(), "a dry-run writes nothing"
    estimated = int(english[-1].removeprefix("~").replace(",", ""))
    assert run_script("plan_shards.py", cwd=project.folder).returncode == 0
    assert len(read_json(project.folder / "results/plan/en_books_tales.json")["shards"]) == 3
    assert project.snakemake("data").returncode == 0
    sums = next(project.folder.glob("results/tokenized/*/conservation.json"))
    counted = read_json(sums)["corpora"]["en_books_tales"]
    tokens, documents = (counted[kind] + counted[f"held_out_{kind}"] for kind in ("tokens", "documents"))
    assert estimated == pytest.approx(tokens - 2 * documents, rel=0.02), "BOS and EOS frame each"


def test_copies_are_told_by_the_planner_too(project: Project) -> None:
    content = (project.folder / "vendor/en_books_tales/a.jsonl").read_bytes()
    copy = project.vendor("ar_news_daily/copy.jsonl", content)
    refused = run_script("plan_shards.py", cwd=project.folder)
    assert refused.returncode == 2
    assert "vendor/ar_news_daily/copy.jsonl holds the same text as vendor/en_books_tales/a.jsonl" in refused.stderr
    assert not (project.folder / "results").exists()
    project.config["duplicates"] = "allow"
    project.save()
    assert run_script("plan_shards.py", cwd=project.folder).returncode == 0
    project.config["duplicates"] = "refuse"
    project.save()
    named = run_script("plan_shards.py", "--dry-run", cwd=project.folder)
    assert named.returncode == 0
    assert named.stderr.startswith("note: planned before, alike") and str(copy.name) in named.stderr


def test_a_stray_file_in_the_source_is_named(project: Project) -> None:
    (project.folder / "vendor" / "en_books_tales" / "README.txt").write_text("about the tales")
    result = project.snakemake("--dry-run")
    assert "vendor/en_books_tales/README.txt is no vendor file" in result.stdout
    assert "narrow the glob" in result.stdout


def test_another_text_key_starts_a_parquet_corpus_over(project: Project) -> None:
    project.vendor("en_books_tales/b.parquet", b'{"text": "a tale", "title": "its title"}\n')
    assert run_script("plan_shards.py", cwd=project.folder).returncode == 0
    table = (project.folder / "config" / "corpora.tsv").read_text()
    (project.folder / "config" / "corpora.tsv").write_text(table.replace("\ttext\n", "\ttitle\n", 2))
    result = project.snakemake("--dry-run")
    assert "text_key was 'text' when parquet files were planned, and is 'title'" in result.stdout


def test_a_plan_that_was_cut_off_is_told(project: Project) -> None:
    path = project.folder / "results" / "plan" / "en_books_tales.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"corpus": "en_books_')
    refused = project.snakemake("--dry-run")
    assert refused.returncode == 1
    assert "no JSON: " in refused.stdout and f"where: results/plan/{path.name}" in refused.stdout
    assert "run folders keep plans in sources/plan" in refused.stdout and "Traceback" not in refused.stdout


def test_another_text_key_is_no_matter_of_plain_files(tmp_path: Path) -> None:
    files = [source_file(deliver(tmp_path / "a.jsonl", b'{"text": "a tale", "title": "its title"}\n'))]
    first, then = (Corpus("en", "books", "tales", "", key, "corpora.tsv:2") for key in ("text", "title"))
    planned = plan.extend(plan.empty(first), files, first, 1_000)
    assert plan.extend(planned, files, then, 1_000) == planned | {"text_key": "title"}
