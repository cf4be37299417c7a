"""Draw a training's curves over the tokens consumed."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pretrain_llama.report.svg import BLUE, FAINT, INK, SERIES, VERMILLION, curve_axes, legend, short, style, svg

POINTS = 300  # of a curve; more iterations than that are averaged
FEW = 20  # points of a curve that are marked
DASHES = ("-", "--", ":")

Records = Sequence[dict[str, Any]]


def loss_figure(records: Records, unigram_entropy: float | None) -> str:
    """Return the training loss, as the mean, least and most of neighbouring iterations.

    Args:
        records: of log.jsonl.
        unigram_entropy: of the data, in nats a token; None where it is not known.
    """
    with style():
        figure, axes = curve_axes()
        groups = _groups(records, "loss")
        tokens = [x for x, _ in groups]
        if len(records) > POINTS:
            least, most = [values.min() for _, values in groups], [values.max() for _, values in groups]
            axes.fill_between(tokens, least, most, color=FAINT, linewidth=0)
        axes.plot(tokens, [values.mean() for _, values in groups], color=INK, linewidth=1.2, label="training loss")
        if unigram_entropy is not None:
            axes.axhline(unigram_entropy, color=VERMILLION, linestyle="--", label="unigram entropy")
        legend(figure)
        return _finished(figure, axes, "nats a token")


def validation_figure(evaluations: Records) -> str:
    """Return the loss of each validation set.

    Args:
        evaluations: of validation.jsonl, at least one.
    """
    names = sorted({name for record in evaluations for name in record["loss"]})
    looks = [(colour, dash) for dash in DASHES for colour in SERIES]
    with style():
        figure, axes = curve_axes(2.6 + 0.1 * len(names))
        for name, (colour, dash) in zip(names, cycle(looks), strict=False):
            points = [
                (record["consumed_tokens"], record["loss"][name]) for record in evaluations if name in record["loss"]
            ]
            axes.plot(*zip(*points, strict=True), color=colour, linestyle=dash, marker="o", markersize=3, label=name)
        legend(figure)
        return _finished(figure, axes, "nats a token")


def curve_figure(records: Records, key: str, unit: str, scale: float = 1.0) -> str:
    """Return the curve of one figure of log.jsonl, times a scale."""
    with style():
        figure, axes = curve_axes(1.9)
        groups = _groups(records, key)
        axes.plot([x for x, _ in groups], [scale * values.mean() for _, values in groups], color=BLUE, linewidth=1.2)
        axes.set_ylim(bottom=0)
        return _finished(figure, axes, unit)


def runs_figure(logs: Mapping[str, Records], key: str, unit: str, scale: float = 1.0) -> str:
    """Return the curves of one figure in the logs of several runs, times a scale.

    Args:
        logs: records by run, each with consumed_tokens and, where it has one, the figure.
        key: of the figure.
        unit: of the scaled figure.
        scale: factor.
    """
    looks = [(colour, dash) for dash in DASHES for colour in SERIES]
    with style():
        figure, axes = curve_axes(2.2 + 0.1 * len(logs))
        for (name, records), (colour, dash) in zip(logs.items(), cycle(looks), strict=False):
            groups = _groups(records, key)
            values = [scale * values.mean() for _, values in groups]
            marker = "o" if len(groups) < FEW else None
            axes.plot(
                [x for x, _ in groups],
                values,
                color=colour,
                linestyle=dash,
                linewidth=1.2,
                marker=marker,
                markersize=3,
                label=name,
            )
        legend(figure)
        return _finished(figure, axes, unit)


def _groups(records: Records, key: str) -> list[tuple[float, np.ndarray]]:
    """Return neighbouring values that are shown as one point, with their mean x; steps without a number are no values.

    The x is consumed tokens.
    """
    pairs = [(record["consumed_tokens"], record[key]) for record in records if np.isfinite(record.get(key, np.nan))]
    parts: list[np.ndarray] = np.array_split(np.array(pairs).reshape(-1, 2), min(POINTS, max(len(pairs), 1)))
    return [(part[:, 0].mean(), part[:, 1]) for part in parts if len(part)]


def _finished(figure: Figure, axes: Axes, unit: str) -> str:
    axes.set_xlabel("tokens consumed")
    axes.xaxis.set_major_formatter(lambda count, _: short(count) if count >= 0 else "")
    axes.set_ylabel(unit)
    return svg(figure)
