"""Planning and merging: even shards, append-only, and every line accounted for."""

import gzip
import json
from pathlib import Path

import pytest

from pretrain_llama.files import write_json
from pretrain_llama.shards import plan
from pretrain_llama.shards.merge import read_lines
from project import jsonl, run_script


def merge(folder: Path, ranges: list[dict]) -> tuple[list[bytes], dict]:
    """Run merge_shard.py on some ranges; return the lines and the receipt."""
    write_json(
        folder / "plan.json", {"corpus": "en_code_python", "files": {}, "shards": [{"bytes": 1, "ranges": ranges}]}
    )
    paths = ["--output", folder / "out.jsonl", "--receipt", folder / "receipt.json"]
    result = run_script(
        "merge_shard.py", "--plan", folder / "plan.json", "--shard", "en_code_python_split_0000", *paths
    )
    assert result.returncode == 0, result.stderr
    return (folder / "out.jsonl").read_bytes().splitlines(True), json.loads((folder / "receipt.json").read_text())


def whole(path: Path) -> dict:
    return {"path": str(path), "start": 0, "stop": None}


def deliver(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_every_document_survives_whatever_the_files_look_like(tmp_path: Path) -> None:
    texts = [[f"books en {file} {n}" for n in range(5)] for file in range(5)]
    files = [
        deliver(tmp_path / "a.jsonl", jsonl(texts[0], final_newline=False)),
        deliver(tmp_path / "b.jsonl.gz", jsonl(texts[1])),
        deliver(tmp_path / "c.jsonl", b""),
        deliver(tmp_path / "d.jsonl", jsonl(texts[2], newline="\r\n")),
        deliver(tmp_path / "e.jsonl", b"\n \n" + jsonl(texts[3]) + b"\n"),
        deliver(tmp_path / "f.jsonl", b"\xef\xbb\xbf" + jsonl(texts[4])),
    ]
    lines, receipt = merge(tmp_path, [whole(path) for path in files])
    assert [json.loads(line)["text"] for line in lines] == [text for group in texts for text in group]
    assert all(line.endswith(b"}\n") for line in lines)
    assert (receipt["lines_read"], receipt["lines_written"], receipt["blank"]) == (28, 25, 3)
    assert receipt["bytes"] == sum(map(len, lines))


def test_concatenated_gzip_members_are_all_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(jsonl(["one"])) + gzip.compress(jsonl(["two"])))
    lines, _ = merge(tmp_path, [whole(path)])
    assert len(lines) == 2


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("final_newline", [True, False])
def test_ranges_own_each_line_once_wherever_they_are_cut(tmp_path: Path, newline: str, final_newline: bool) -> None:
    texts = ["one", "", "ثلاثة", "four" * 9, "five"]
    path = deliver(tmp_path / "a.jsonl", jsonl(texts, newline=newline, final_newline=final_newline))
    size = path.stat().st_size
    for cut in range(size + 1):
        ranges = [{"path": str(path), "start": 0, "stop": cut}, {"path": str(path), "start": cut, "stop": size}]
        lines = [line for r in ranges for line in read_lines(r["path"], r["start"], r["stop"])]
        assert b"".join(lines) == path.read_bytes(), f"cut at {cut}"


def test_shards_are_even_and_hold_every_byte_once() -> None:
    files = [("crumb", 1_000), ("small", 20_000), ("large", 3_000_000), ("last", 500_000)]
    shards = plan.cut(files, 400_000)
    sizes = [shard["bytes"] for shard in shards]
    assert sum(sizes) == sum(size for _, size in files)
    assert len(shards) == 9
    assert max(sizes) - min(sizes) <= 1
    for path, size in files:
        ranges = [r for shard in shards for r in shard["ranges"] if r["path"] == path]
        assert [r["start"] for r in ranges] == [0, *(r["stop"] for r in ranges[:-1])]
        assert ranges[-1]["stop"] == size


def test_compressed_files_are_never_cut_and_leave_no_crumb() -> None:
    files = [("a.jsonl.gz", 950), ("b.jsonl", 100), ("c.jsonl.gz", 3_000), ("d.jsonl", 40), ("e.jsonl", 900)]
    shards = plan.cut(files, 500)
    ranges = [r for shard in shards for r in shard["ranges"]]
    assert {r["path"] for r in ranges} == {name for name, _ in files}
    assert [r for r in ranges if r["path"].endswith(".gz")] == [whole("a.jsonl.gz"), whole("c.jsonl.gz")]
    assert min(shard["bytes"] for shard in shards) >= 250


def test_an_unplanned_shard_says_who_plans(tmp_path: Path) -> None:
    args = ["--shard", "en_code_python_split_0000", "--output", tmp_path / "x", "--receipt", tmp_path / "y"]
    result = run_script("merge_shard.py", "--plan", tmp_path / "plan.json", *args)
    assert result.returncode == 2
    assert "operation error: shard en_code_python_split_0000 is not planned" in result.stderr
    assert "run snakemake, which records the plan" in result.stderr


@pytest.mark.parametrize("damage", ["vanished", "truncated", "garbled"])
def test_a_damaged_file_is_named_and_leaves_no_shard(tmp_path: Path, damage: str) -> None:
    path = deliver(tmp_path / "a.jsonl.gz", jsonl([f"text {n}" for n in range(1000)]))
    content = path.read_bytes()
    if damage == "vanished":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-20])
    else:
        path.write_bytes(content[:40] + b"\xff" * 40 + content[80:])
    write_json(tmp_path / "plan.json", {"corpus": "en_code_python", "shards": [{"bytes": 1, "ranges": [whole(path)]}]})
    args = ["--shard", "en_code_python_split_0000", "--output", tmp_path / "x", "--receipt", tmp_path / "y"]
    result = run_script("merge_shard.py", "--plan", tmp_path / "plan.json", *args)
    assert result.returncode == 2
    assert "data error: a vendor file cannot be read" in result.stderr
    assert str(path) in result.stderr
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob("*.part"))
