"""Merging: every line accounted for, whatever the vendor's files look like."""

import gzip
import json
from pathlib import Path

import pyarrow
import pytest
from backports import zstd
from pyarrow import parquet

from pretrain_llama.errors import DataError
from pretrain_llama.files import read_json
from pretrain_llama.shards.merge import merge
from pretrain_llama.shards.sources import BLOCK_BYTES
from project import SHARD, deliver, jsonl, merge_shard, plan_files, run_script


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
    begins = [0, *(place + 1 for place, byte in enumerate(content[:-1]) if byte == ord("\n"))]
    recorded = read_json(plan_files(tmp_path, path))
    for cut in range(len(content) + 1):
        ranges = [{"path": str(path), "start": 0, "stop": cut}, {"path": str(path), "start": cut, "stop": len(content)}]
        planned = recorded | {"shards": [{"bytes": 1, "ranges": [part]} for part in ranges]}
        receipts = [merge(planned, f"en_books_tales_split_{n}", tmp_path / f"{n}.jsonl") for n in range(2)]
        shards = [(tmp_path / f"{n}.jsonl").read_bytes() for n in range(2)]
        assert b"".join(shards).removesuffix(b"\n") == content.removesuffix(b"\n"), f"cut at {cut}"
        assert sum(receipt.lines for receipt in receipts) == len(texts)
        assert [receipt.lines for receipt in receipts] == [shard.count(b"\n") for shard in shards]
        assert receipts[0].lines == sum(begin < cut for begin in begins), f"those that begin before {cut}"


def test_lines_longer_than_a_block_are_merged_whole(tmp_path: Path) -> None:
    content = jsonl(["short", "long " * (BLOCK_BYTES // 2), "short"])
    path = deliver(tmp_path / "a.jsonl", content)
    assert merge_shard(tmp_path, path, deliver(tmp_path / "b.jsonl.gz", content)).returncode == 0
    assert merged(tmp_path)[0] == content * 2
    assert merged(tmp_path)[1]["lines"] == 6


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
    assert not (tmp_path / "x").exists() and not (tmp_path / "y").exists()
    assert not list(tmp_path.glob(".*.parts"))


def test_a_file_that_is_written_to_meanwhile_is_named(tmp_path: Path) -> None:
    path = deliver(tmp_path / "a.jsonl", jsonl([f"text {n:06d}" for n in range(20_000)]))
    planned = plan_files(tmp_path, path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"text 010000", b"TEXT 010000"))  # of the same size, beginning and end
    args = ["--shard", SHARD, "--output", tmp_path / "x", "--receipt", tmp_path / "y"]
    result = run_script("merge_shard.py", "--plan", planned, *args)
    assert f"data error: planned file {path} was written to while it was read" in result.stderr
    assert not (tmp_path / "x").exists()


def test_a_frame_of_a_long_window_is_read(tmp_path: Path) -> None:
    content = jsonl(["one", "two"])
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 28})
    half = len(content) // 2  # a size that is not known beforehand leaves the window as it is
    frame = compressor.compress(content[:half]) + compressor.compress(content[half:]) + compressor.flush()
    (tmp_path / "a.jsonl.zst").write_bytes(frame)
    result = merge_shard(tmp_path, tmp_path / "a.jsonl.zst")
    assert result.returncode == 0, result.stderr
    assert merged(tmp_path)[0] == content


def test_a_parquet_file_without_rows_is_a_file_of_no_lines(tmp_path: Path) -> None:
    parquet.ParquetWriter(tmp_path / "empty.parquet", pyarrow.schema([("text", pyarrow.string())])).close()
    result = merge_shard(tmp_path, deliver(tmp_path / "a.jsonl", jsonl(["one"])), tmp_path / "empty.parquet")
    assert result.returncode == 0, result.stderr
    assert [part["lines"] for part in merged(tmp_path)[1]["ranges"]] == [1, 0]
