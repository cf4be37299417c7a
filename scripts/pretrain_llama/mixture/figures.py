"""Figures of a mixture, as SVG that takes its colours and its font from the page that it stands in.

Matplotlib draws in stand-in colours, which are then exchanged for the page's, so that one figure serves a light and a
dark page. The sizes are those of a phone's width; a page may show them larger.
"""

import io
from collections import Counter

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pretrain_llama.mixture import ledger
from pretrain_llama.mixture.mixture import Mixture, SampledShard

INK, FAINT, THERE, WANTED, CAP = "#000001", "#000002", "#000003", "#000004", "#000005"
OF_THE_PAGE = {INK: "--ink", FAINT: "--faint", THERE: "--there", WANTED: "--wanted", CAP: "--cap"}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mixture",  # the same mixture, the same file
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": FAINT,
    "grid.color": FAINT,
}
WIDTH, ROW_HEIGHT, MARGIN = 4.4, 0.21, 0.75  # inches
MANY_DECADES = 1e3
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"), (0, ""))


def tokens_figure(mixture: Mixture) -> str:
    """Return the tokens there and wanted of each language and domain; their distance is the epochs."""
    languages, domains = ledger.by_language(mixture), ledger.by_domain(mixture)
    rows = {f"{language}, all": line for language, line in languages.items()}
    rows |= {" ".join(names): line for names, line in domains.items()}
    order = sorted(rows, key=lambda label: label.replace(", all", ""))
    rows = {label: rows[label] for label in order if rows[label].shards}
    with rc_context(STYLE):
        figure, axes = _axes(len(rows))
        there = [line.tokens for line in rows.values()]
        wanted = [line.probability * mixture.length.tokens for line in rows.values()]  # above 0, for the logarithm
        axes.hlines(range(len(rows)), there, wanted, FAINT, linewidth=2, zorder=1)
        axes.scatter(there, range(len(rows)), 45, "none", "o", edgecolors=THERE, linewidths=1.8, label="there")
        axes.scatter(wanted, range(len(rows)), 18, WANTED, "D", linewidths=0, label="wanted")
        _finish(axes, list(rows), "tokens", (1, 3))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: short(tokens)))
        return _svg(figure)


def epochs_figure(mixture: Mixture) -> str:
    """Return the epochs of each shard, by domain, and the most that each may have; one dot for shards that agree."""
    rows = sorted({_domain(shard) for shard in mixture.shards})
    with rc_context(STYLE):
        figure, axes = _axes(len(rows))
        dots = Counter((rows.index(_domain(shard)), float(f"{mixture.epochs(shard):.3g}")) for shard in mixture.shards)
        areas = [12 + 8 * min(count, 10) for count in dots.values()]
        axes.scatter([x for _, x in dots], [y for y, _ in dots], areas, WANTED, alpha=0.8, linewidths=0, label="shards")
        caps = {(rows.index(_domain(s)), s.max_epochs) for s in mixture.shards if s.max_epochs < float("inf")}
        for number, (y, cap) in enumerate(sorted(caps)):
            label = None if number else "the most epochs"
            axes.plot([cap, cap], [y - 0.45, y + 0.45], color=CAP, linewidth=2, label=label)
        axes.axvline(1, color=FAINT, linewidth=1, linestyle=":", zorder=0)
        _finish(axes, rows, "epochs", (1, 2, 5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda epochs, _: f"{epochs:g}"))
        return _svg(figure)


def short(tokens: float) -> str:
    """Return a number of tokens in three digits: 12.3B."""
    size, unit = next(unit for unit in UNITS if tokens >= 0.9995 * unit[0])  # 999.9M is 1B
    return f"{tokens / (size or 1):.3g}{unit}"


def _domain(shard: SampledShard) -> str:
    return f"{shard.name.shard.language} {shard.name.shard.domain}"


def _axes(rows: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, MARGIN + ROW_HEIGHT * rows), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_ylim(rows - 0.4, -0.6)
    return figure, axes


def _finish(axes: Axes, labels: list[str], title: str, steps: tuple[int, ...]) -> None:
    """Label the axes; steps: the ticks of a decade, where there are not many of them."""
    low, high = axes.get_xlim()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel(title)
    axes.xaxis.set_major_locator(LogLocator(subs=steps if high / low < MANY_DECADES else (1,), numticks=9))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, which="both")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.figure.legend(loc="outside upper left", ncols=2, frameon=False)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, variable in OF_THE_PAGE.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg
