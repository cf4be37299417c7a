"""Draw the figures of the report's first page: tokens by language, and the shares and epochs of a mixture."""

from itertools import cycle

from pretrain_llama.mixture import ledger
from pretrain_llama.mixture.mixture import Mixture
from pretrain_llama.report.svg import BLUE, FAINT, SERIES, legend, rows_axes, short, style, svg

OTHERS = "others"
LEGEND_COLUMNS, LEGEND_ROW = 3, 0.2  # inches


def languages_figure(tokens: dict[str, dict[str, int]]) -> str:
    """Return a bar for each language, the largest first, of its domains.

    Args:
        tokens: by language and domain.
    """
    sums = {language: sum(domains.values()) for language, domains in tokens.items()}
    languages = sorted(sums, key=lambda language: (-sums[language], language))
    of_domains: dict[str, int] = {}
    for domains in tokens.values():
        for domain, count in domains.items():
            of_domains[domain] = of_domains.get(domain, 0) + count
    named = sorted(of_domains, key=lambda domain: (-of_domains[domain], domain))
    shown = named if len(named) <= len(SERIES) else named[: len(SERIES) - 1]
    with style():
        figure, axes = rows_axes(languages)
        begun = [0] * len(languages)
        parts = [*zip(shown, cycle(SERIES), strict=False)] + [(OTHERS, FAINT)] * (len(shown) < len(named))
        for domain, colour in parts:
            of = [domain] if domain != OTHERS else [name for name in named if name not in shown]
            widths = [sum(tokens[language].get(name, 0) for name in of) for language in languages]
            axes.barh(range(len(languages)), widths, 0.6, begun, color=colour, label=domain)
            begun = [start + width for start, width in zip(begun, widths, strict=True)]
        for row, language in enumerate(languages):
            axes.annotate(short(sums[language]), (begun[row], row), (3, 0), textcoords="offset points", va="center")
        axes.margins(x=0.18)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda count, _: short(count))
        axes.set_xlabel("tokens")
        legend(figure, columns=LEGEND_COLUMNS)
        figure.set_figheight(figure.get_figheight() + LEGEND_ROW * -(-len(parts) // LEGEND_COLUMNS))
        return svg(figure)


def shares_figure(mixture: Mixture) -> str:
    """Return the share of each language and domain in what a training draws, with its epochs at its end."""
    lines = list(ledger.sums(mixture, "domain").query("shards > 0").itertuples())
    with style():
        figure, axes = rows_axes([line.Index for line in lines])
        bars = axes.barh(range(len(lines)), [100 * line.probability for line in lines], 0.6, color=BLUE)
        axes.bar_label(bars, [f"{line.epochs:.3g} epochs" for line in lines], padding=3)
        axes.margins(x=0.45)
        axes.set_xlabel("percent of the training")
        return svg(figure)
