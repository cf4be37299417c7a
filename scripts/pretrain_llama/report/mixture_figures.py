"""Draw a mixture's figures: tokens and epochs by language and domain."""

from collections import Counter

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pretrain_llama.mixture import ledger
from pretrain_llama.mixture.mixture import Mixture, SampledShard
from pretrain_llama.report.svg import BLUE, FAINT, ORANGE, VERMILLION, legend, rows_axes, short, style, svg

THERE, WANTED, CAP = ORANGE, BLUE, VERMILLION
MANY_DECADES = 1e3


def tokens_figure(mixture: Mixture) -> str:
    """Return the figure of tokens there and wanted, by language and domain; their ratio is the epochs."""
    rows = {f"{line.Index}, all": line for line in ledger.sums(mixture, "language").itertuples()}
    rows |= {line.Index: line for line in ledger.sums(mixture, "domain").itertuples()}
    order = sorted(rows, key=lambda label: label.replace(", all", ""))
    rows = {label: rows[label] for label in order if rows[label].shards}
    with style():
        figure, axes = rows_axes(list(rows))
        there = [line.tokens for line in rows.values()]
        wanted = [line.probability * mixture.length.tokens for line in rows.values()]  # above 0, for the logarithm
        axes.hlines(range(len(rows)), there, wanted, FAINT, linewidth=2, zorder=1)
        axes.scatter(there, range(len(rows)), 45, "none", marker="o", edgecolors=THERE, linewidths=1.8, label="there")
        axes.scatter(wanted, range(len(rows)), 18, WANTED, marker="D", linewidths=0, label="wanted")
        _finish(axes, "tokens", (1, 3))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: short(tokens)))
        legend(figure)
        return svg(figure)


def epochs_figure(mixture: Mixture) -> str:
    """Return the epochs of each shard, by domain, and the most that each may have; one dot for shards that agree."""
    rows = sorted({_domain(shard) for shard in mixture.shards})
    with style():
        figure, axes = rows_axes(rows)
        dots = Counter((rows.index(_domain(shard)), float(f"{mixture.epochs(shard):.3g}")) for shard in mixture.shards)
        areas = [12 + 8 * min(count, 10) for count in dots.values()]
        axes.scatter([x for _, x in dots], [y for y, _ in dots], areas, WANTED, alpha=0.8, linewidths=0, label="shards")
        caps = {(rows.index(_domain(s)), s.max_epochs) for s in mixture.shards if s.max_epochs < float("inf")}
        for number, (y, cap) in enumerate(sorted(caps)):
            label = None if number else "the most epochs"
            axes.plot([cap, cap], [y - 0.45, y + 0.45], color=CAP, linewidth=2, label=label)
        axes.axvline(1, color=FAINT, linewidth=1, linestyle=":", zorder=0)
        _finish(axes, "epochs", (1, 2, 5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda epochs, _: f"{epochs:g}"))
        legend(figure)
        return svg(figure)


def _domain(shard: SampledShard) -> str:
    return f"{shard.name.shard.language} {shard.name.shard.domain}"


def _finish(axes: Axes, title: str, steps: tuple[int, ...]) -> None:
    """Label the axis, which is logarithmic; steps: the ticks of a decade, where there are not many of them."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlabel(title)
    axes.xaxis.set_major_locator(LogLocator(subs=steps if high / low < MANY_DECADES else (1,), numticks=9))
    axes.xaxis.set_minor_formatter(NullFormatter())
