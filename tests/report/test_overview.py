"""The report's first page: what is there is shown, what is not yet there is said or left out."""

from pathlib import Path

import pytest

from pages import Page
from pretrain_llama.files import write_json
from pretrain_llama.report import html
from pretrain_llama.report.overview import page
from pretrain_llama.report.overview_figures import languages_figure
from pretrain_llama.report.samples import samples
from pretrain_llama.run.log_file import SAMPLES, append_line

PREVIEW = """\
note: a note
rule            jobs  what for                      how much
merge_shard        2  join vendor files             4 MB
sign_data          1  sign the counts
total          1,003
More jobs come when the shards are counted. With --verbose: each job, and why.
"""


def shown(tmp_path: Path, content: str) -> Page:
    (tmp_path / "part.html").write_text(content)
    return Page(tmp_path / "part.html")


def test_of_a_project_where_nothing_is_made_it_says_so(tmp_path: Path) -> None:
    found = shown(tmp_path, page(tmp_path, ["toy.01234567"], ["first"], "", ""))
    assert {"Documents, with tokenizer toy.01234567", "Run first"} <= set(found.texts)
    assert {
        "Not all of its shards are tokenized and counted yet.",
        "Its probabilities are not computed yet.",
    } <= set(found.texts)
    assert "What is pending" not in found.texts
    assert html.STYLE.read_text() in found.text


def test_documents_in_are_documents_out_and_tokens_a_picture(tmp_path: Path) -> None:
    total = {"files": 2, "lines": 12, "shards": 3, "documents": 8, "held_out_documents": 1, "blank": 1, "tokens": 1234}
    corpora = {"en_books_tales": {"tokens": 1000}, "en_books_more": {"tokens": 200}, "ar_news_daily": {"tokens": 34}}
    sums = {"total": total | {"rejected": {"bad_json": 2}}, "corpora": corpora}
    write_json(tmp_path / "tokenized/toy.01234567/conservation.json", sums)
    found = shown(tmp_path, page(tmp_path, ["toy.01234567"], [], "", ""))
    assert "12 lines of 2 vendor files = 8 tokenized + 1 held out + 1 blank + 2 rejected." in found.texts
    assert {"1.23k", "1.2k", "34", "books", "news"} <= set(found.texts), "sums of languages, in the figure"


def test_domains_beyond_the_colours_are_one() -> None:
    drawn = languages_figure({"en": {f"domain-{number}": 100 - number for number in range(9)}})
    assert "others" in drawn and "domain-4" in drawn and "domain-5" not in drawn


@pytest.mark.parametrize(
    ("preview", "said"), [("Nothing to be done (…).\n", "Nothing: all that"), (PREVIEW, "1,003 jobs")]
)
def test_what_is_pending_is_in_words(tmp_path: Path, preview: str, said: str) -> None:
    found = shown(tmp_path, page(tmp_path, [], [], preview, "3 node hours"))
    assert any(text.startswith(said) for text in found.texts) and "3 node hours" in found.texts
    rows = [["join vendor files", "4 MB", "2", "merge_shard"], ["sign the counts", "", "1", "sign_data"]]
    assert [row for row in found.rows if row[0] != "what for"] == (rows if preview == PREVIEW else [])


def test_samples_of_evaluations_stand_below_the_last(tmp_path: Path) -> None:
    assert samples(tmp_path) == []
    (tmp_path / "output").mkdir()
    for iteration in (0, 20):
        append_line(tmp_path / "output" / SAMPLES, {"iteration": iteration, "texts": [f"A tale of {iteration}", "B"]})
    going_on = "".join(samples(tmp_path))
    assert (
        going_on.index("At iteration 20.") < going_on.index("at iteration 0<") and "A tale of 20\n----\nB" in going_on
    )
    (tmp_path / "sample.txt").write_text("The end.\n")
    ended = "".join(samples(tmp_path))
    assert ended.index("The end.") < ended.index("at iteration 0<") < ended.index("at iteration 20<")
