"""Planning meets any folder: what no document can be read from is named, all of it at once, and no link has no end."""

import os
import socket
from pathlib import Path

import pytest

from pretrain_llama import stores
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import ConfigError, DataError, OperatorError, PretrainError, made_of_each, raise_together
from pretrain_llama.shards import plan
from pretrain_llama.stores import folder_walk

WHERE = "config/corpora.tsv:2"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with two files of a vendor, one called like an option."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vendor" / "deep").mkdir(parents=True)
    for name in ("a.jsonl", "-b.jsonl", "deep/c.jsonl"):
        (tmp_path / "vendor" / name).write_text('{"text": "a tale"}\n')
    return tmp_path / "vendor"


def paths(pattern: str) -> list[str]:
    return [file.path for file in stores.list_files(pattern, WHERE)]


def test_what_is_no_file_is_named_with_all_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths("vendor/**") == ["vendor/-b.jsonl", "vendor/a.jsonl", "vendor/deep/c.jsonl"]
    os.mkfifo(folder / "pipe.jsonl")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("vendor/socket.jsonl")
    (folder / "device.jsonl").symlink_to("/dev/null")
    (folder / "itself.jsonl").symlink_to("itself.jsonl")
    (folder / "one.jsonl").symlink_to("two.jsonl")
    (folder / "two.jsonl").symlink_to("one.jsonl")
    (folder / "gone.jsonl").symlink_to("/nowhere/gone.jsonl")
    (folder / "again.jsonl").hardlink_to(folder / "a.jsonl")
    (folder / "deep" / "up").symlink_to("..")
    (folder / "deep" / "here").symlink_to(".")
    (folder / "elsewhere").symlink_to("deep")
    (folder / "closed").mkdir()
    (folder / "closed.jsonl").touch()
    Path(os.fsdecode(b"vendor/caf\xe9.jsonl")).touch()
    (folder / "-\n.jsonl").touch()
    scan, look, entered = os.scandir, os.access, []

    def scandir(path: str) -> object:
        entered.append(path)
        if path == "vendor/closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "access", lambda path, mode: path != "vendor/closed.jsonl" and look(path, mode))
    with pytest.raises(PretrainError) as raised:
        paths("vendor/**")
    told = str(raised.value)
    for part in (
        "14 things are wrong",
        "no file, but a pipe\n      where: vendor/pipe.jsonl",
        "no file, but a socket\n      where: vendor/socket.jsonl",
        "no file, but a device\n      where: vendor/device.jsonl",
        "a link leads nowhere\n      where: vendor/gone.jsonl, vendor/itself.jsonl, vendor/one.jsonl, vendor/two.jsonl",
        "vendor/again.jsonl and vendor/a.jsonl are one file",
        "vendor/deep/up leads back to vendor, in which it lies",
        "vendor/deep/here leads back to vendor/deep, in which it lies",
        "vendor/elsewhere and vendor/deep are one folder",
        "permission denied\n      where: vendor/closed.jsonl, vendor/closed\n",
        "no UTF-8\n      where: vendor/caf\\xe9.jsonl",
        f"\n  where: {WHERE}\n  next:  mend each",
    ):
        assert part in told.replace("vendor/a.jsonl and vendor/again.jsonl", "vendor/again.jsonl and vendor/a.jsonl")
    assert len(entered) == len(set(entered)) == 3


def test_links_of_links_do_not_multiply(folder: Path) -> None:
    for number in range(40):
        (folder / f"{number}").mkdir()
        for name in ("one", "two"):
            (folder / f"{number}" / name).symlink_to(f"../{number + 1}")
    with pytest.raises(DataError, match="a link leads nowhere"):
        paths("vendor/**")
    (folder / "40").mkdir()
    assert len(paths("vendor/**")) == 3, "folders that hold nothing are none too many"
    (folder / "40" / "d.jsonl").touch()
    with pytest.raises(ConfigError, match=r"vendor/\d+/(one|two) and vendor/.* are one folder"):
        paths("vendor/**")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("vendor/*/c.jsonl", ["vendor/deep/c.jsonl"]),
        ("vendor/d[e]ep/./c.jsonl", ["vendor/deep/./c.jsonl"]),
        ("./vendor//a.jsonl", ["./vendor//a.jsonl"]),
        ("**/**/c.jsonl", ["vendor/deep/c.jsonl"]),
        ("vendor/deep/../-*", ["vendor/deep/../-b.jsonl"]),
    ],
)
def test_paths_are_as_the_glob_writes_them(folder: Path, pattern: str, found: list[str]) -> None:
    assert paths(pattern) == found
    assert paths(f"{folder.parent}/{pattern}") == [f"{folder.parent}/{path}" for path in found]


def test_a_folder_that_went_is_named(folder: Path) -> None:
    (folder / "part-2").symlink_to("/nowhere/mount")
    with pytest.raises(DataError, match=r"a link leads nowhere\n  where: vendor/part-2\n"):
        paths("vendor/*/*.jsonl")
    with pytest.raises(ConfigError, match=r"'vendor/a\.jsonl/\*' matches no file"):
        paths("vendor/a.jsonl/*")
    (folder / "itself").symlink_to("itself")
    with pytest.raises(DataError, match=r"a link leads nowhere\n  where: vendor/itself\n"):
        paths("vendor/itself/*")


def test_folders_of_one_number_are_not_one_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On some network file systems."""
    real = os.stat

    def stat(path: str, **how: bool) -> os.stat_result:
        return os.stat_result([value if place != 1 else 7 for place, value in enumerate(real(path, **how))])

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        found = folder_walk.FolderWalk("vendor/**", WHERE).found
    assert len(found) == 3


def test_files_of_another_kind_are_named_together(folder: Path) -> None:
    for number in range(60):
        (folder / f"{number}.csv").touch()
    corpus = Corpus("en", "books", "tales", "vendor/*", "text", WHERE)
    with pytest.raises(ConfigError, match=r"60 things are wrong(?s:.*)vendor/0\.csv is no vendor file(?s:.*)10 more"):
        plan.plan_corpus(corpus, plan.empty(corpus), 1 << 20)


def test_what_is_wrong_with_many_is_one_error() -> None:
    def make(number: int) -> int:
        if number == 1:
            raise PermissionError(13, "Permission denied", "one")
        if number == 2:
            raise_together([DataError(f"odd {n}", where=n, action="mend it") for n in range(2)], "two")
        return number

    assert made_of_each([0, 3], make, "here") == [0, 3]
    with pytest.raises(OperatorError, match=r"3 things are wrong(?s:.*)permission denied(?s:.*)odd 0(?s:.*)odd 1"):
        made_of_each(range(4), make, "here")
    with pytest.raises(BlockingIOError):
        made_of_each([0], lambda _: (_ for _ in ()).throw(BlockingIOError(11, "busy")), "here")
