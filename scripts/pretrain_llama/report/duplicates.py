"""The part of the documents page about copies: how many, between which corpora, how the most frequent ones begin."""

from collections import defaultdict

from pretrain_llama.duplicates.record import Duplicates, between_corpora
from pretrain_llama.errors import listed
from pretrain_llama.report import html

SHOWN_CHARACTERS = 200
SHOWN_PLACES = 3


def copies_of_documents(duplicates: Duplicates | None) -> list[str]:
    """Return headings, paragraphs and tables; nothing where nobody looked for copies."""
    if duplicates is None:
        return []
    documents = sum(one.documents for one in duplicates.shards.values())
    copies = sum(one.count for one in duplicates.shards.values())
    tokens = sum(one.tokens for one in duplicates.shards.values())
    fate = "left out of what is trained on" if duplicates.duplicates == "drop" else "trained on as well"
    told = (
        f"{copies:,} of {documents:,} documents to train on, {tokens:,} tokens, are copies of others, and are {fate}."
    )
    if duplicates.without_keys:
        told += (
            f" {len(duplicates.without_keys):,} shards of an earlier version were not compared: snakemake keys makes "
            "what is needed."
        )
    parts = [html.heading("Documents that hold the same text"), html.paragraph(told)]
    return [*parts, _matrix(duplicates), _largest(duplicates)] if copies else parts


def _matrix(duplicates: Duplicates) -> str:
    """Return a table: a row for the corpus that has the copy, a column for the one that has the first."""
    found = between_corpora(duplicates.shards)
    firsts = sorted({first for first, _ in found})
    rows: dict[str, dict[str, int]] = defaultdict(dict)
    for (first, copy), count in found.items():
        rows[copy][first] = count
    header = ["copies in", *(f"of {first}" for first in firsts)]
    return html.table(
        header,
        [(copy, *(f"{row.get(first, 0):,}" for first in firsts)) for copy, row in sorted(rows.items())],
        words=("copies in",),
    )


def _largest(duplicates: Duplicates) -> str:
    rows = [
        (
            f"{group['copies']:,}",
            group["text"][:SHOWN_CHARACTERS],
            listed([f"{shard}: document {number}" for shard, number in group["documents"]], shown=SHOWN_PLACES),
        )
        for group in duplicates.largest
    ]
    header = ("times", "text", "the first of them, counted from 0")
    return html.details("texts that are there most often", html.table(header, rows, words=header[1:]))
