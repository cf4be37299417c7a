"""A recorded listing: round trips, globs as the file system takes them, and every error."""

import os
import sys
from pathlib import Path

import pytest

from pretrain_llama import stores
from pretrain_llama.errors import ConfigError, DataError, PretrainError
from pretrain_llama.shards import listing
from pretrain_llama.stores import SourceFile

AZURE = "az://vendor/drop-7/en books"
NAMES = [
    "a.jsonl",
    "b.jsonl.gz",
    "B.jsonl",
    ".hidden.jsonl",
    "a/b/c.jsonl",
    "a/b/.hidden/c.jsonl",
    "a/.d/c.jsonl",
    "a/b c/[1].jsonl",
    "a/b/e/f/c.jsonl",
    "قصص/١.jsonl",
    ".git/objects/a.jsonl",
]
GLOBS = [
    "*",
    "*.jsonl",
    "?.jsonl",
    "[ab].jsonl",
    "[!a]*",
    "[[]1].jsonl",
    "a/*/c.jsonl",
    "a/b c/[[]1].jsonl",
    "**",
    "**/*.jsonl",
    "**/c.jsonl",
    "a/**",
    "a/**/c.jsonl",
    "a/**/b/**/c.jsonl",
    "**/**/*.jsonl",
    "a/b**/*.jsonl",
    ".*",
    ".*/**/*.jsonl",
    "**/.hidden/*",
    "a/.d/*",
    "a/b/c.jsonl",
    "قص*/*.jsonl",
    "*/*",
    "a[/]b/*",
]


def source_file(path: str, size: int = 1) -> SourceFile:
    return SourceFile(path, size, 1_700_000_000_000_000_000)


def test_a_listing_goes_and_comes_back(tmp_path: Path) -> None:
    files = [source_file(f"{AZURE}/{name}", n) for n, name in enumerate([*NAMES, os.fsdecode(b"latin-\xe9.jsonl")])]
    listing.write(tmp_path / "listing.tsv", files)
    assert listing.read(tmp_path / "listing.tsv") == files
    first = (tmp_path / "listing.tsv").read_bytes().split(b"\n")[0].decode()
    assert first.startswith("path\tsize_bytes\tmtime_ns")


@pytest.fixture(scope="module")
def drop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in folders, some hidden."""
    folder = tmp_path_factory.mktemp("drop")
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


@pytest.mark.parametrize("glob", GLOBS)
def test_a_glob_takes_of_a_listing_what_it_takes_of_a_folder(drop: Path, glob: str) -> None:
    files = [source_file(f"{drop}/{name}") for name in NAMES]
    try:
        expected = list(dict.fromkeys(file.path for file in stores.list_files(f"{drop}/{glob}", "corpora.tsv:2")))
    except ConfigError:
        with pytest.raises(ConfigError, match="matches no file of the listing"):
            listing.matching(files, f"{drop}/{glob}", "corpora.tsv:2")
        return
    assert [file.path for file in listing.matching(files, f"{drop}/{glob}", "corpora.tsv:2")] == expected
    blobs = [source_file(f"{AZURE}/{name}") for name in NAMES]
    found = [file.path for file in listing.matching(blobs, f"{AZURE}/{glob}", "corpora.tsv:2")]
    assert found == [path.replace(str(drop), AZURE) for path in expected], "blobs go by the text of their path"


def test_a_blob_of_a_folders_name_is_not_below_it() -> None:
    blobs = [source_file(f"{AZURE}/a"), source_file(f"{AZURE}/a/b.jsonl")]
    for glob in ("a/**", "*/**"):
        assert _found(blobs, f"{AZURE}/{glob}") == blobs[1:]


def test_the_globs_above_match_something_and_nothing(drop: Path) -> None:
    files = [source_file(f"{drop}/{name}") for name in NAMES]
    for name in NAMES:
        assert any(source_file(f"{drop}/{name}") in _found(files, f"{drop}/{glob}") for glob in GLOBS), name
    assert any(not _found(files, f"{drop}/{glob}") for glob in GLOBS)


def _found(files: list[SourceFile], glob: str) -> list[SourceFile]:
    try:
        return listing.matching(files, glob, "")
    except ConfigError:
        return []


GOOD = listing.HEADER + "\n" + "\t".join(["az://a/b.jsonl", "10", "20", *["e"] * (len(listing.COLUMNS) - 3)]) + "\n"
WRONG = {
    "another header": (
        GOOD.replace("path", "name"),
        ["1\n", "the columns are 'name\\tsize_bytes", "correct the first"],
    ),
    "an empty file": ("", ["1\n", "the columns are ''"]),
    "a column too many": (GOOD[:-1] + "\tx\n", ["2\n", "columns, not", "az://a/b.jsonl", "separate the columns"]),
    "a column too few": (GOOD + "az://a/c.jsonl\n", ["3\n", "1 columns, not", "separate the columns by one tab: path"]),
    "an empty line": (GOOD + "\n", ["3\n", "1 columns, not"]),
    "a size that is no number": (GOOD.replace("10", "10 MB"), ["2\n", "'10 MB'", "list the store anew"]),
    "a negative size": (GOOD.replace("10", "-10"), ["2\n", "-10 is no size in bytes of az://a/b.jsonl"]),
    "a path twice": (
        GOOD + GOOD.split("\n")[1] + "\n",
        ["3\n", "az://a/b.jsonl stands there twice", "remove the line"],
    ),
}


@pytest.mark.parametrize("problem", WRONG)
def test_a_wrong_listing_is_refused_with_its_line(tmp_path: Path, problem: str) -> None:
    content, expected = WRONG[problem]
    (tmp_path / "listing.tsv").write_text(content)
    with pytest.raises(DataError) as raised:
        listing.read(tmp_path / "listing.tsv")
    for part in (f"listing.tsv:{expected[0]}", *expected[1:]):
        assert part in str(raised.value)


def test_the_listing_above_is_right_but_for_what_is_changed(tmp_path: Path) -> None:
    (tmp_path / "listing.tsv").write_text(GOOD)
    assert [file.size_bytes for file in listing.read(tmp_path / "listing.tsv")] == [10]


def test_no_listing_is_the_configurations_matter(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such listing\n  where: .*none.tsv\n  next:  record one"):
        listing.read(tmp_path / "none.tsv")


@pytest.mark.parametrize(
    ("paths", "message"),
    [(["a\tb"], "holds a tab or a line break"), (["a\nb"], "'a\\\\nb'"), (["a", "a"], "a stands there twice")],
)
def test_what_cannot_be_read_back_is_not_written(tmp_path: Path, paths: list[str], message: str) -> None:
    listing.write(tmp_path / "listing.tsv", [source_file("kept")])
    with pytest.raises(PretrainError, match=message):
        listing.write(tmp_path / "listing.tsv", map(source_file, paths))
    assert listing.read(tmp_path / "listing.tsv") == [source_file("kept")]
    assert [path.name for path in tmp_path.iterdir()] == ["listing.tsv"]


def test_a_listing_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """It has no column of MD5s."""
    row = "az://a/b.jsonl\t10\t20\tetag"
    (tmp_path / "listing.tsv").write_text(f"path\tsize_bytes\tmtime_ns\tetag\n{row}\n")
    assert listing.read(tmp_path / "listing.tsv") == [SourceFile("az://a/b.jsonl", 10, 20, "etag")]
    (tmp_path / "listing.tsv").write_text(f"path\tsize_bytes\tmtime_ns\tetag\n{row}\tmd5\n")
    with pytest.raises(DataError, match=r"5 columns, not 4, .*\n  where: .*:2\n"):
        listing.read(tmp_path / "listing.tsv")


def test_ten_thousand_rows_are_read_at_a_few_calls_each(tmp_path: Path) -> None:
    """Counted, and not timed: what else the machine does changes nothing."""
    path = tmp_path / "listing.tsv"

    def calls(rows: int) -> int:
        listing.write(path, [source_file(f"{AZURE}/{number:05d}.jsonl") for number in range(rows)])
        counted = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal counted
            counted += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            assert len(listing.read(path)) == rows
        finally:
            sys.setprofile(None)
        return counted

    assert calls(10_000) <= 20 * 10_000
    assert calls(2_000) / 2_000 == pytest.approx(calls(1_000) / 1_000, rel=0.1), "none looks at those before it"
