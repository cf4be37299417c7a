"""The documents page tells how many documents are copies, of which corpora, and how they begin."""

from pretrain_llama.duplicates.record import Copies, Duplicates
from pretrain_llama.report.duplicates import copies_of_documents

BOOKS, NEWS = "en_books_tales_split_0000", "ar_news_daily_split_0000"
SHARDS = {BOOKS: Copies(1_000, 70, {BOOKS: 3, f"{NEWS} held out": 1}), NEWS: Copies(500, 30, {BOOKS: 2})}
LARGEST = [{"copies": 4, "documents": [[BOOKS, 7], [BOOKS, 9]], "text": "All rights <reserved>"}]


def test_copies_are_counted_by_who_has_the_first_and_shown() -> None:
    page = "".join(copies_of_documents(Duplicates("drop", SHARDS, [], LARGEST)))
    assert "6 of 1,500 documents to train on, 100 tokens, are copies of others, and are left out" in page
    for cell in (
        "of en_books_tales",
        "of ar_news_daily held out",
        f"{BOOKS}: document 7",
        "All rights &lt;reserved&gt;",
    ):
        assert cell in page
    assert page.index(">0<") < page.index(">1<"), "a corpus has none of the other"


def test_what_was_not_compared_is_said_and_where_nobody_looked_nothing_is() -> None:
    page = "".join(copies_of_documents(Duplicates("count", {NEWS: Copies(5)}, [BOOKS])))
    assert "0 of 5 documents" in page and "1 shards of an earlier version were not compared" in page
    assert copies_of_documents(None) == []
