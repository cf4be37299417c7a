"""Build the page about documents: vendor files and shards, rejections by reason, tokens, fertility.

Fertility is shown as bytes a token: the UTF-8 bytes of all texts over their tokens, larger where a token says more.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pretrain_llama import stores
from pretrain_llama.duplicates.record import Duplicates
from pretrain_llama.errors import listed
from pretrain_llama.names import PREFIX_SUFFIX, parse_shard
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.report import html
from pretrain_llama.report.duplicates import copies_of_documents
from pretrain_llama.report.svg import (
    BLUE,
    FAINT,
    GREEN,
    ORANGE,
    PURPLE,
    VERMILLION,
    legend,
    rows_axes,
    short,
    style,
    svg,
)
from pretrain_llama.shards import alike
from pretrain_llama.shards.planned import Plan, live_shards
from pretrain_llama.vocabulary.promises import kept

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SHOWN_FILES = 3
BY_REFERENCE = "by the reference"  # engine: those that the fast one is not trusted with
ALL = "all"
FATES = ("tokenized", "held out", "rejected", "blank")
WITHDRAWN = "withdrawn"  # shown where something is
COLOURS = {"tokenized": BLUE, "held out": GREEN, "rejected": VERMILLION, "blank": FAINT, WITHDRAWN: PURPLE}


@dataclass(frozen=True)
class Shard:
    """A shard with the vendor files that it was merged from, and what became of its lines."""

    files: list[str]
    receipt: TokenizeReceipt

    @property
    def by_reference(self) -> int:
        """Documents that the reference engine encoded: of earlier versions, all where it is the shard's engine."""
        receipt = self.receipt
        is_fast = receipt.engine.startswith("gigatoken")
        return receipt.by_reference if is_fast else receipt.documents + receipt.held_out_documents

    @property
    def domain(self) -> str:
        """Language and domain."""
        shard = parse_shard(self.receipt.shard)
        return f"{shard.language} {shard.domain}"


def read_shards(plans: Sequence[Plan], tokenized: str) -> list[Shard]:
    """Return the planned shards of all corpora.

    Args:
        plans: of each corpus.
        tokenized: folder of the shards' receipts, or its location in a store.

    Raises:
        DataError: a shard has no receipt.
    """
    shards = []
    with ThreadPoolExecutor(stores.ASKED_AT_ONCE) as threads:
        for plan in plans:
            live = live_shards(plan)
            locations = [f"{tokenized}/{name}{PREFIX_SUFFIX}.receipt.json" for name in live]
            for planned, receipt in zip(live.values(), threads.map(TokenizeReceipt.read, locations), strict=True):
                shards.append(Shard([part["path"] for part in planned["ranges"]], receipt))
    return shards


def page(shards: list[Shard], plans: Sequence[Plan], duplicates: Duplicates | None = None) -> str:
    """Return the page as HTML; shards: of one tokenizer, at least one; duplicates: what is known of copies."""
    by_domain = sorted(shards, key=lambda shard: shard.domain)
    sums = _sums(by_domain, [_counts(shard) for shard in by_domain])
    files = {(name, file) for shard in shards for file in shard.files for name in (shard.domain, ALL)}
    sums["vendor files"] = sums.index.map(Counter(name for name, _ in files))
    domains, total = sums.drop(ALL), sums.loc[ALL]
    rejected = _sums(by_domain, [shard.receipt.rejected for shard in by_domain])
    rejected = rejected.sort_values(ALL, axis="columns", ascending=False, kind="stable")
    return html.page(
        "Documents",
        f"Every line of every vendor file, and what became of it. Tokenizer: {shards[0].receipt.tokenizer}.",
        _key_figures(total),
        html.figures(
            html.figure("What became of the lines", _fates_figure(domains), "In percent of the lines of a domain."),
            html.figure("Tokens to train on", _tokens_figure(domains), "Without the documents that are held out."),
            html.figure(
                "Bytes a token",
                _fertility_figure(domains),
                "UTF-8 bytes of the texts over their tokens; more is better.",
            ),
            _rejected_figure(rejected.loc[ALL]),
        ),
        html.heading("By language and domain"),
        _domains(sums),
        html.heading("Rejected"),
        _rejected(rejected),
        _unchanged(shards),
        *copies_of_documents(duplicates),
        html.heading("Files that hold the same text"),
        _same_texts(plans),
        html.details(f"every shard: {len(shards):,}", _shards(shards)),
    )


def _sums(shards: list[Shard], counts: Sequence[Mapping[str, int]]) -> "DataFrame":
    """Return sums of each shard's counts by language and domain, and of all: exact integers, 0 where it has none."""
    import pandas as pd

    table = pd.DataFrame(list(counts), [shard.domain for shard in shards], dtype=object).fillna(0)
    sums = table.groupby(level=0).sum()
    sums.loc[ALL] = table.sum()
    return sums


def _counts(shard: Shard) -> dict[str, int]:
    receipt, fates = shard.receipt, _fates(shard.receipt)
    return {
        "tokens": receipt.tokens,
        "text bytes": receipt.text_bytes,
        "lines": sum(fates.values()),
        **fates,
        BY_REFERENCE: shard.by_reference,
        "shards": 1,
    }


def _fates(receipt: TokenizeReceipt) -> dict[str, int]:
    rejected = sum(receipt.rejected.values())
    fates = dict(zip(FATES, (receipt.documents, receipt.held_out_documents, rejected, receipt.blank), strict=True))
    return fates | ({WITHDRAWN: receipt.withdrawn} if receipt.withdrawn else {})


def _shown(counted: Collection[str]) -> list[str]:
    """Return the fates that a table counts."""
    return [fate for fate in (*FATES, WITHDRAWN) if fate in counted]


def _key_figures(total: "Series") -> str:
    counts = {name: f"{total[name]:,}" for name in ("vendor files", "lines", *_shown(total.index), "shards")}
    return html.key_figures(counts | {"tokens": short(total["tokens"]), "bytes a token": _bytes_per_token(total)})


def _bytes_per_token(sums: "Series") -> str:
    return f"{sums['text bytes'] / sums['tokens']:.3g}" if sums["tokens"] else "none"


def _fates_figure(domains: "DataFrame") -> str:
    with style():
        figure, axes = rows_axes(list(domains.index))
        ends = 0.0
        for fate in _shown(domains.columns):
            widths = (100 * domains[fate] / domains["lines"].replace(0, math.inf)).astype(float)
            axes.barh(range(len(domains)), widths, 0.6, ends, color=COLOURS[fate], label=fate)
            ends += widths
        axes.set_xlim(0, 100)
        axes.set_xlabel("percent")
        legend(figure, columns=5)
        return svg(figure)


def _tokens_figure(domains: "DataFrame") -> str:
    with style():
        figure, axes = rows_axes(list(domains.index))
        bars = axes.barh(range(len(domains)), domains["tokens"], 0.6, color=BLUE)
        axes.bar_label(bars, domains["tokens"].map(short), padding=3)
        axes.margins(x=0.18)
        axes.xaxis.set_major_formatter(lambda count, _: short(count))
        axes.set_xlabel("tokens")
        return svg(figure)


def _fertility_figure(domains: "DataFrame") -> str:
    with style():
        figure, axes = rows_axes(list(domains.index))
        rates = domains["text bytes"] / domains["tokens"].replace(0, math.inf)  # 0 where no token is
        bars = axes.barh(range(len(domains)), rates, 0.6, color=ORANGE)
        axes.bar_label(bars, rates.map("{:.2f}".format), padding=3)
        axes.margins(x=0.12)
        axes.set_xlabel("bytes a token")
        return svg(figure)


def _rejected_figure(reasons: "Series") -> str:
    if reasons.empty:
        return ""
    with style():
        figure, axes = rows_axes(list(reasons.index))
        bars = axes.barh(range(len(reasons)), reasons, 0.6, color=VERMILLION)
        axes.bar_label(bars, reasons.map("{:,}".format), padding=3)
        axes.margins(x=0.18)
        axes.set_xlabel("lines")
        drawn = svg(figure)
    return html.figure("Why lines were rejected", drawn, "They are kept, whole, in a .rejected.jsonl beside the shard.")


def _domains(sums: "DataFrame") -> str:
    counts = sums.map("{:,}".format)
    counts["bytes a token"] = sums.apply(_bytes_per_token, axis="columns")
    header = ["tokens", "bytes a token", "lines", *_shown(sums.columns), BY_REFERENCE, "shards", "vendor files"]
    return html.table(["", *header], list(counts[header].itertuples(name=None)), sums=[ALL])


def _rejected(reasons: "DataFrame") -> str:
    if reasons.empty:
        return html.paragraph("No line was rejected.")
    counts = reasons[reasons.any(axis="columns")].map("{:,}".format)
    return html.table(["", *counts], list(counts.itertuples(name=None)), sums=[ALL])


def _same_texts(plans: Sequence[Plan]) -> str:
    found = alike.find([file for plan in plans for file in alike.files_of(plan)], read=False)
    if not found:
        return html.paragraph("Of no two vendor files is it known.")
    rows = [
        (
            listed([file.path for file in same.files]),
            f"{len(same.files):,}",
            f"{same.files[0].text_bytes:,}",
            "all of it" if same.is_proven else "size and ends",
        )
        for same in found
    ]
    words = ("vendor files", "compared by")
    return html.table(("vendor files", "files", "bytes each", "compared by"), rows, words=words)


def _unchanged(shards: list[Shard]) -> str:
    """Say how far an expansion leaves languages as they were; nothing where it promises none."""
    told = [f"{language}: {one.told}." for language, one in kept(shard.receipt for shard in shards).items()]
    if not told:
        return ""
    chosen = "Its pieces were chosen by a sample of the first shard of each corpus; all documents are counted."
    return html.heading("Languages that the expansion was to leave unchanged") + html.paragraph(
        " ".join([*told, chosen])
    )


def _shards(shards: list[Shard]) -> str:
    fates = _shown({fate for shard in shards for fate in _fates(shard.receipt)})
    rows = [
        (
            shard.receipt.shard,
            f"{shard.receipt.tokens:,}",
            f"{shard.receipt.lines:,}",
            *(f"{_fates(shard.receipt).get(fate, 0):,}" for fate in fates),
            f"{shard.by_reference:,}",
            listed(shard.files, shown=SHOWN_FILES),
        )
        for shard in shards
    ]
    return html.table(("", "tokens", "lines", *fates, BY_REFERENCE, "vendor files"), rows, words=("", "vendor files"))
