"""Draw figures as SVG in the colours and the font of the page that holds them.

Matplotlib draws in stand-in colours, which are then exchanged for the page's, so that one figure serves a light and a
dark page. The sizes are those of a phone's width; a page may show them larger.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, FAINT = "#000001", "#000002"
ORANGE, BLUE, VERMILLION, GREEN, PURPLE, SKY = (f"#00000{number}" for number in range(3, 9))
SERIES = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
OF_THE_PAGE = {
    INK: "--ink",
    FAINT: "--faint",
    ORANGE: "--orange",
    BLUE: "--blue",
    VERMILLION: "--vermillion",
    GREEN: "--green",
    PURPLE: "--purple",
    SKY: "--sky",
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # the same numbers, the same file
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": FAINT,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
WIDTH, ROW_HEIGHT, MARGIN = 4.4, 0.21, 0.75  # inches
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"), (0, ""))


@contextmanager
def style() -> Iterator[None]:
    """Draw in the page's colours, for the length of a block."""
    with rc_context(STYLE):
        yield


def rows_axes(labels: list[str]) -> tuple[Figure, Axes]:
    """Return axes with a labelled row for each of what is compared, the first at the top."""
    figure = Figure(figsize=(WIDTH, MARGIN + ROW_HEIGHT * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), labels)
    axes.grid(axis="x")
    axes.tick_params(length=0, which="both")
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure, axes


def curve_axes(height_inches: float = 2.6) -> tuple[Figure, Axes]:
    """Return axes for curves over one x."""
    figure = Figure(figsize=(WIDTH, height_inches), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y")
    axes.tick_params(length=0, which="both")
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure, axes


def legend(figure: Figure, columns: int = 2) -> None:
    """Put a legend above the axes."""
    figure.legend(loc="outside upper left", ncols=columns)


def short(number: float) -> str:
    """Return a number, e.g. of tokens, in three digits: 12.3B."""
    size, unit = next(unit for unit in UNITS if number >= 0.9995 * unit[0])  # 999.9M is 1B
    return f"{number / (size or 1):.3g}{unit}"


def svg(figure: Figure) -> str:
    """Return a figure as an element of a page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    element = text.getvalue()
    element = element[element.index("<svg") :]
    for colour, variable in OF_THE_PAGE.items():
        element = element.replace(colour, f"var({variable})")
    return element
