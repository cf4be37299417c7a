"""Planning and merging: even shards, append-only, and every line accounted for."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from backports import zstd

from pretrain_llama.errors import DataError
from pretrain_llama.files import read_json
from pretrain_llama.shards import plan
from pretrain_llama.shards.merge import merge
from pretrain_llama.shards.sources import BLOCK_BYTES, text_bytes
from pretrain_llama.stores import source_file
from project import ROOT, SHARD, Project, deliver, jsonl, merge_shard, plan_files, run_script


def merged(folder: Path) -> tuple[bytes, dict]:
    return (folder / "shard.jsonl").read_bytes(), read_json(folder / "merge.json")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_every_byte_survives_whatever_the_files_look_like(tmp_path: Path, suffix: str) -> None:
    contents = [
        jsonl(["no final newline", "two"], final_newline=False),
        b"",
        jsonl(["windows", "lines"], newline="\r\n"),
        b"\n \n" + jsonl(["blank lines around"]) + b"\n",
        b"\xef\xbb\xbf" + jsonl(["byte-order mark"]),
        b"no document \xff",
    ]
    files = [deliver(tmp_path / f"{number}{suffix}", content) for number, content in enumerate(contents)]
    result = merge_shard(tmp_path, *files)
    assert result.returncode == 0, result.stderr
    shard, receipt = merged(tmp_path)
    assert shard == contents[0] + b"\n" + b"".join(contents[2:]) + b"\n"
    assert (receipt["lines"], receipt["bytes"]) == (10, len(shard))
    assert [part["newline_added"] for part in receipt["ranges"] if part["bytes"]] == [True, False, False, False, True]
    assert [part["lines"] for part in receipt["ranges"] if part["bytes"]] == [2, 2, 4, 1, 1]


def test_concatenated_members_and_frames_are_all_read(tmp_path: Path) -> None:
    parts = [jsonl([f"member {number} {'x' * 200_000}"]) for number in range(3)]
    (tmp_path / "a.jsonl.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    (tmp_path / "b.jsonl.zst").write_bytes(b"".join(map(zstd.compress, parts)))
    assert merge_shard(tmp_path, tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.zst").returncode == 0
    assert merged(tmp_path)[0] == b"".join(parts) * 2


def test_parquet_rows_become_lines_with_their_text_alone(tmp_path: Path) -> None:
    rows = [{"id": n, "data": {"text": text, "n": n}} for n, text in enumerate(["tale", "حكاية\n", None, ""])]
    path = deliver(tmp_path / "a.parquet", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    result = merge_shard(tmp_path, path, text_key="data.text")
    assert result.returncode == 0, result.stderr
    shard, receipt = merged(tmp_path)
    assert [json.loads(line) for line in shard.splitlines()] == [{"data": {"text": r["data"]["text"]}} for r in rows]
    assert receipt["lines"] == 4


@pytest.mark.parametrize("text_key", ["content", "id"])
def test_a_parquet_file_without_the_text_column_is_refused(tmp_path: Path, text_key: str) -> None:
    path = deliver(tmp_path / "a.parquet", b'{"id": 1, "text": "tale"}\n')
    with pytest.raises(DataError, match=f"no column '{text_key}' of strings; columns of strings: text"):
        plan_files(tmp_path, path, text_key=text_key)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("final_newline", [True, False])
def test_ranges_own_each_line_once_wherever_they_are_cut(tmp_path: Path, newline: str, final_newline: bool) -> None:
    texts = ["one", "", "ثلاثة", "four" * 9, "five"]
    content = jsonl(texts, newline=newline, final_newline=final_newline)
    path = deliver(tmp_path / "a.jsonl", content)
    for cut in range(len(content) + 1):
        ranges = [{"path": str(path), "start": 0, "stop": cut}, {"path": str(path), "start": cut, "stop": len(content)}]
        planned = {"text_key": "text", "shards": [{"bytes": 1, "ranges": [part]} for part in ranges]}
        receipts = [merge(planned, f"en_books_tales_split_{n}", tmp_path / f"{n}.jsonl") for n in range(2)]
        shards = [(tmp_path / f"{n}.jsonl").read_bytes() for n in range(2)]
        assert b"".join(shards).removesuffix(b"\n") == content.removesuffix(b"\n"), f"cut at {cut}"
        assert sum(receipt.lines for receipt in receipts) == len(texts)
        assert [receipt.lines for receipt in receipts] == [shard.count(b"\n") for shard in shards]


def test_lines_longer_than_a_block_are_merged_whole(tmp_path: Path) -> None:
    content = jsonl(["short", "long " * (BLOCK_BYTES // 2), "short"])
    path = deliver(tmp_path / "a.jsonl", content)
    assert merge_shard(tmp_path, path, deliver(tmp_path / "b.jsonl.gz", content)).returncode == 0
    assert merged(tmp_path)[0] == content * 2
    assert merged(tmp_path)[1]["lines"] == 6


@pytest.mark.parametrize(
    "sizes",
    [[1_000] * 40_000, [300_000_000_000], [1_000, 20_000, 3_000_000, 500_000, 900_000_000], [70_000] * 800],
    ids=["crumbs", "one giant", "mixed", "some"],
)
@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_shards_are_within_a_tenth_of_the_target_and_hold_every_byte_once(sizes: list[int], suffix: str) -> None:
    files = [(f"{number}.{suffix}", size) for number, size in enumerate(sizes)]
    target = max(sum(sizes) // 40, 1_000_000)
    shards = plan.cut(files, target)
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


def test_compressed_files_count_by_what_they_expand_to(tmp_path: Path) -> None:
    content = jsonl([f"tale {number} of the sea, the ships and the wind" for number in range(20_000)])
    size = len(content)
    for suffix in (".jsonl.gz", ".jsonl.zst"):
        assert text_bytes(source_file(deliver(tmp_path / f"whole{suffix}", content)), "text") == size
    halves = [content[: size // 2], content[size // 2 :]]
    (tmp_path / "members.jsonl.gz").write_bytes(b"".join(map(gzip.compress, halves)) + gzip.compress(b""))
    (tmp_path / "frames.jsonl.zst").write_bytes(
        b"".join(zstd.compress(content[i : i + 9_999]) for i in range(0, size, 9_999))
    )
    for name in ("members.jsonl.gz", "frames.jsonl.zst"):
        assert text_bytes(source_file(tmp_path / name), "text") == pytest.approx(size, rel=0.3), name
    assert text_bytes(source_file(deliver(tmp_path / "a.parquet", content)), "text") == pytest.approx(size, rel=0.3)
    assert text_bytes(source_file(deliver(tmp_path / "empty.jsonl.gz", b"")), "text") == 1, (
        "it has a range all the same"
    )


def test_an_unplanned_shard_says_who_plans(tmp_path: Path) -> None:
    args = ["--shard", SHARD, "--output", tmp_path / "x", "--receipt", tmp_path / "y"]
    result = run_script("merge_shard.py", "--plan", tmp_path / "plan.json", *args)
    assert result.returncode == 2
    assert f"operation error: shard {SHARD} is not planned" in result.stderr
    assert "run snakemake, which records the plan" in result.stderr


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
@pytest.mark.parametrize("damage", ["vanished", "truncated", "garbled"])
def test_a_damaged_file_is_named_and_leaves_no_shard(tmp_path: Path, damage: str, suffix: str) -> None:
    path = deliver(tmp_path / f"a{suffix}", jsonl([f"text {n}" for n in range(1000)]))
    planned = plan_files(tmp_path, path)
    content = path.read_bytes()
    if damage == "vanished":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-20])
    else:
        path.write_bytes(content[:40] + b"\xff" * 40 + content[80:])
    args = ["--shard", SHARD, "--output", tmp_path / "x", "--receipt", tmp_path / "y"]
    result = run_script("merge_shard.py", "--plan", planned, *args)
    assert result.returncode == 2, result.stderr
    assert "data error: " in result.stderr
    assert str(path) in result.stderr
    assert not (tmp_path / "y").exists()
    assert not list(tmp_path.glob(".*.parts"))


def test_what_a_killed_process_left_is_removed_and_what_a_running_one_writes_is_not(tmp_path: Path) -> None:
    path = deliver(tmp_path / "a.jsonl", jsonl(["tale"]))
    host = os.uname().nodename
    parts = tmp_path / ".shard.jsonl.parts"
    left, *others = [parts / f"{host}.{2**22 - 1}", parts / f"{host}.{os.getpid()}", parts / "elsewhere.1"]
    parts.mkdir()
    for part in (left, *others):
        part.write_text("partial")
    assert merge_shard(tmp_path, path).returncode == 0
    assert sorted(parts.iterdir()) == sorted(others)
    assert (tmp_path / "shard.jsonl").read_bytes() == jsonl(["tale"])
    for part in others:
        part.unlink()
    assert merge_shard(tmp_path, path).returncode == 0
    assert not parts.exists(), "nothing is left of it"


def test_many_writers_of_one_file_leave_it_whole(tmp_path: Path) -> None:
    """Each removes the folder that the others are about to write in."""
    code = """if True:
        import sys
        from pretrain_llama.files import write_text
        for number in range(300):
            write_text(sys.argv[1], sys.argv[2] * 100)"""
    place = tmp_path / "file.txt"
    writers = [subprocess.Popen([sys.executable, "-c", code, place, letter], cwd=ROOT / "scripts") for letter in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert place.read_text() in {letter * 100 for letter in "abcd"}
    assert list(tmp_path.iterdir()) == [place]


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
