"""The page about a mixture, and the comparison of two."""

import re
from pathlib import Path

import pytest

from mixtures import RATIO, SIGNATURE, compute
from pages import Page
from project import Result, run_script


def plot(folder: Path, title: str = "tiny") -> Page:
    result = run_script(
        "plot_mixture.py", "--mixture", folder / "out", "--title", title, "--output", folder / "mixture.html"
    )
    assert result.returncode == 0, result.stderr
    return Page(folder / "mixture.html")


def test_the_page_shows_what_is_sampled_and_what_is_left_out(tmp_path: Path) -> None:
    ratio = {"en": {"books": 1, "web": 0}, "ar": {"news": 1, "nwes": 2}}
    compute(tmp_path, "--omissions", "list", ratio=ratio, mixture={"max_epochs": {"en": {"books": 2.5}}})
    page = plot(tmp_path, "<tiny> & small")
    assert ["en books", "1.875", "75 %", "7,500", "4,000", "2", ""] in page.rows
    assert ["en", "1.875", "75 %", "7,500", "4,000", "2", "2,000"] in page.rows
    assert ["all", "2.222", "100 %", "10,000", "4,500", "3", "2,000"] in page.rows
    assert ["en web", "2,000", "1", "rate 0"] in page.rows
    assert ["en_web_crawl_split_0000", "2,000", "rate 0"] in page.rows
    assert "the rate of ar.nwes matches no shard" in page.texts
    assert "Mixture of <tiny> & small" in page.texts
    # Texts of the figures: the domains, what the marks mean, the line of the cap.
    assert {"ar, all", "ar news", "en books", "there", "wanted", "the most epochs", "tokens", "epochs"} <= set(
        page.texts
    )


def test_the_page_is_one_file_for_light_and_dark(tmp_path: Path) -> None:
    compute(tmp_path)
    page = plot(tmp_path)
    text = (tmp_path / "mixture.html").read_text()
    page.check_it_stands_alone()
    assert "nothing caps them" in text
    first = text
    plot(tmp_path)
    assert (tmp_path / "mixture.html").read_text() == first


def test_the_page_of_10_000_shards_stays_small(tmp_path: Path) -> None:
    names = [f"en_d{n % 40}_x_split_{n:04d}_text_document_dc=1_sc=1_tc={10**9 + n}.bin" for n in range(10_000)]
    compute(tmp_path, signature=names, ratio={f"d{n}": 1 + n / 10 for n in range(40)}, shares={"en": 1})
    plot(tmp_path)
    assert (tmp_path / "mixture.html").stat().st_size < 500_000


def compare(before: Path, after: Path, *args: object) -> Result:
    result = run_script("compare_mixtures.py", before / "out", after / "out", *args)
    assert result.returncode == 0, result.stderr
    return result


def cells(result: Result) -> list[list[str]]:
    return [re.split(r"  +", line) for line in result.stdout.splitlines()]


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """A mixture, and one of another tokenizer's shards in which web is doubled and a book left out."""
    before, after = tmp_path / "before", tmp_path / "after"
    compute(before)
    signature = [name.replace("tc=3000", "tc=1500") for name in SIGNATURE]
    excluded = ["en_books_tales_split_0000"]
    compute(after, signature=signature, ratio=RATIO | {"en": {"books": 1, "web": 4}}, excluded=excluded)
    return before, after


def test_a_comparison_lists_shards_whose_epochs_alone_change(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    compute(before)
    compute(after, signature=[SIGNATURE[0], *(name.replace("000.bin", "0000.bin") for name in SIGNATURE[1:])])
    rows = cells(compare(before, after))
    names = [row[0] for row in rows]
    assert rows[names.index("by shard: 3 change") + 1 :] == [
        ["en_books_tales_split_0000", "938", "938", "+0", "0.9375", "0.0938"],
        ["en_books_tales_split_0001", "2,812", "2,812", "+0", "0.9375", "0.0938"],
        ["en_web_crawl_split_0000", "3,750", "3,750", "+0", "1.8750", "0.1875"],
    ]


def test_a_comparison_shows_the_largest_change_first(two: tuple[Path, Path]) -> None:
    rows = cells(compare(*two))
    assert rows[0] == ["", "wanted before", "wanted after", "change", "epochs before", "epochs after"]
    assert rows[1] == ["all", "10,000", "10,000", "+0", "1.5385", "2.5000"]
    assert ["en books", "3,750", "1,184", "-2,566", "0.9375", "0.7895"] in rows
    names = [row[0] for row in rows]
    assert names[names.index("by domain") + 1 :][:3] == ["en books", "en web", "ar news"]
    assert rows[names.index("by shard: 3 change") + 1 :] == [
        ["en_web_crawl_split_0000", "3,750", "6,316", "+2,566", "1.8750", "3.1579"],
        ["en_books_tales_split_0001", "2,812", "1,184", "-1,628", "0.9375", "0.7895"],
        ["en_books_tales_split_0000", "938", "0", "-938", "0.9375", "out"],
    ]


def test_a_comparison_lists_as_many_shards_as_asked(two: tuple[Path, Path]) -> None:
    assert compare(*two, "--shards", 1).stdout.endswith("3.1579\nand 2 more (--shards)\n")
    assert compare(two[0], two[0]).stdout.rstrip().endswith("by shard: 0 change")


def test_a_comparison_needs_two_mixtures(tmp_path: Path) -> None:
    compute(tmp_path)
    result = run_script("compare_mixtures.py", tmp_path / "out", tmp_path / "nothing")
    assert result.returncode == 2
    assert "no mixture\n" in result.stderr
    assert "scripts/compute_probabilities.py" in result.stderr
