"""The page about the documents: from which vendor files to which shards, what was rejected and why, tokens, fertility.

Fertility is shown as bytes a token: the UTF-8 bytes of all texts over their tokens, larger where a token says more.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pretrain_llama import stores
from pretrain_llama.errors import listed
from pretrain_llama.names import PREFIX_SUFFIX, parse_shard
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.report import html
from pretrain_llama.report.svg import BLUE, FAINT, GREEN, ORANGE, VERMILLION, legend, rows_axes, short, style, svg
from pretrain_llama.shards.plan import shard_names

SHOWN_FILES = 3
FATES = ("tokenized", "held out", "rejected", "blank")
COLOURS = {"tokenized": BLUE, "held out": GREEN, "rejected": VERMILLION, "blank": FAINT}


@dataclass(frozen=True)
class Shard:
    """A shard with the vendor files that it was merged from, and what became of its lines."""

    files: list[str]
    receipt: TokenizeReceipt

    @property
    def domain(self) -> str:
        """Language and domain."""
        shard = parse_shard(self.receipt.shard)
        return f"{shard.language} {shard.domain}"


@dataclass
class Sums:
    """Sums of some shards; lines by what became of them, see FATES."""

    shards: int = 0
    files: set[str] = field(default_factory=set)
    fates: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    text_bytes: int = 0

    def add(self, shard: Shard) -> None:
        """Count a shard."""
        receipt = shard.receipt
        self.shards += 1
        self.files.update(shard.files)
        self.fates.update(_fates(receipt))
        self.reasons.update(receipt.rejected)
        self.tokens += receipt.tokens
        self.text_bytes += receipt.text_bytes

    @property
    def lines(self) -> int:
        """Lines of the vendor files."""
        return self.fates.total()


def read_shards(plans: Sequence[str], tokenized: str) -> list[Shard]:
    """Return the planned shards of all corpora.

    Args:
        plans: recorded plan of each corpus, a file or blob.
        tokenized: folder of the shards' receipts, or its place in a store.

    Raises:
        DataError: a shard has no receipt.
    """
    shards = []
    with ThreadPoolExecutor(stores.ASKED_AT_ONCE) as threads:
        for path in plans:
            plan = stores.read_json(path)
            places = [f"{tokenized}/{name}{PREFIX_SUFFIX}.receipt.json" for name in shard_names(plan)]
            for planned, receipt in zip(plan["shards"], threads.map(TokenizeReceipt.read, places), strict=True):
                shards.append(Shard([part["path"] for part in planned["ranges"]], receipt))
    return shards


def page(shards: list[Shard]) -> str:
    """Return the page as HTML; shards: of one tokenizer, at least one."""
    domains: dict[str, Sums] = defaultdict(Sums)
    total = Sums()
    for shard in sorted(shards, key=lambda shard: shard.domain):
        domains[shard.domain].add(shard)
        total.add(shard)
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
            _rejected_figure(total),
        ),
        html.heading("By language and domain"),
        _domains(domains, total),
        html.heading("Rejected"),
        _rejected(domains, total),
        html.details(f"every shard: {len(shards):,}", _shards(shards)),
    )


def _fates(receipt: TokenizeReceipt) -> dict[str, int]:
    rejected = sum(receipt.rejected.values())
    return dict(zip(FATES, (receipt.documents, receipt.held_out_documents, rejected, receipt.blank), strict=True))


def _key_figures(total: Sums) -> str:
    fates = {fate: f"{total.fates[fate]:,}" for fate in FATES}
    return html.key_figures(
        {"vendor files": f"{len(total.files):,}", "lines": f"{total.lines:,}"}
        | fates
        | {"shards": f"{total.shards:,}", "tokens": short(total.tokens), "bytes a token": _bytes_per_token(total)}
    )


def _bytes_per_token(sums: Sums) -> str:
    return f"{sums.text_bytes / sums.tokens:.3g}" if sums.tokens else "none"


def _fates_figure(domains: dict[str, Sums]) -> str:
    with style():
        figure, axes = rows_axes(list(domains))
        ends = [0.0] * len(domains)
        for fate in FATES:
            widths = [100 * sums.fates[fate] / max(sums.lines, 1) for sums in domains.values()]
            axes.barh(range(len(domains)), widths, 0.6, ends, color=COLOURS[fate], label=fate)
            ends = [end + width for end, width in zip(ends, widths, strict=True)]
        axes.set_xlim(0, 100)
        axes.set_xlabel("percent")
        legend(figure, columns=4)
        return svg(figure)


def _tokens_figure(domains: dict[str, Sums]) -> str:
    with style():
        figure, axes = rows_axes(list(domains))
        tokens = [sums.tokens for sums in domains.values()]
        bars = axes.barh(range(len(domains)), tokens, 0.6, color=BLUE)
        axes.bar_label(bars, [short(count) for count in tokens], padding=3)
        axes.margins(x=0.18)
        axes.xaxis.set_major_formatter(lambda count, _: short(count))
        axes.set_xlabel("tokens")
        return svg(figure)


def _fertility_figure(domains: dict[str, Sums]) -> str:
    with style():
        figure, axes = rows_axes(list(domains))
        rates = [sums.text_bytes / sums.tokens if sums.tokens else 0.0 for sums in domains.values()]
        bars = axes.barh(range(len(domains)), rates, 0.6, color=ORANGE)
        axes.bar_label(bars, [f"{rate:.2f}" for rate in rates], padding=3)
        axes.margins(x=0.12)
        axes.set_xlabel("bytes a token")
        return svg(figure)


def _rejected_figure(total: Sums) -> str:
    if not total.reasons:
        return ""
    reasons = dict(total.reasons.most_common())
    with style():
        figure, axes = rows_axes(list(reasons))
        bars = axes.barh(range(len(reasons)), list(reasons.values()), 0.6, color=VERMILLION)
        axes.bar_label(bars, [f"{count:,}" for count in reasons.values()], padding=3)
        axes.margins(x=0.18)
        axes.set_xlabel("lines")
        drawn = svg(figure)
    return html.figure("Why lines were rejected", drawn, "They are kept, whole, in a .rejected.jsonl beside the shard.")


def _domains(domains: dict[str, Sums], total: Sums) -> str:
    header = ("", "tokens", "bytes a token", "lines", *FATES, "shards", "vendor files")
    rows = [
        (
            name,
            f"{sums.tokens:,}",
            _bytes_per_token(sums),
            f"{sums.lines:,}",
            *(f"{sums.fates[fate]:,}" for fate in FATES),
            f"{sums.shards:,}",
            f"{len(sums.files):,}",
        )
        for name, sums in [*domains.items(), ("all", total)]
    ]
    return html.table(header, rows, sums=("all",))


def _rejected(domains: dict[str, Sums], total: Sums) -> str:
    if not total.reasons:
        return html.paragraph("No line was rejected.")
    reasons = [reason for reason, _ in total.reasons.most_common()]
    rows = [
        (name, *(f"{sums.reasons[reason]:,}" for reason in reasons))
        for name, sums in [*domains.items(), ("all", total)]
        if sums.reasons
    ]
    return html.table(("", *reasons), rows, sums=("all",))


def _shards(shards: list[Shard]) -> str:
    rows = [
        (
            shard.receipt.shard,
            f"{shard.receipt.tokens:,}",
            f"{shard.receipt.lines:,}",
            *(f"{count:,}" for count in _fates(shard.receipt).values()),
            listed(shard.files, shown=SHOWN_FILES),
        )
        for shard in shards
    ]
    return html.table(("", "tokens", "lines", *FATES, "vendor files"), rows, words=("", "vendor files"))
