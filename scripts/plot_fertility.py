"""Plot tokens a word by language and domain, before and after a vocabulary was enlarged.

python scripts/plot_fertility.py --fertility expanded/fertility.csv --output fertility.png
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain_llama.errors import run_program

if TYPE_CHECKING:
    from pandas import DataFrame

BEFORE, AFTER = "#999999", "#0072b2"  # Okabe and Ito's palette: safe for colour-blind readers


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fertility", type=Path, required=True, help="table that expand_vocabulary.py wrote (CSV)")
    parser.add_argument("--output", type=Path, required=True, help="picture to write (PNG or SVG)")
    return parser.parse_args()


def read_domains(path: Path) -> "DataFrame":
    """Return tokens a word, before and after, by language and domain; both are 0 where the texts have no word."""
    import pandas as pd

    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    rates = table[["tokens_per_word_before", "tokens_per_word_after"]].replace("", "0").astype(float)
    return rates.set_axis(["before", "after"], axis="columns").set_axis(table["language"] + " " + table["domain"])


def main() -> None:
    args = parse_args()
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    domains = read_domains(args.fertility)[::-1]  # the first one is drawn on top
    figure, axes = plt.subplots(figsize=(8, 1.5 + 0.5 * len(domains)), layout="constrained")
    rows = range(len(domains))
    axes.barh([row + 0.2 for row in rows], domains["before"], 0.4, color=BEFORE, label="before")
    bars = axes.barh([row - 0.2 for row in rows], domains["after"], 0.4, color=AFTER, label="after")
    axes.bar_label(
        bars, [f" {after / before - 1:+.1%}" if before else " no words" for _, before, after in domains.itertuples()]
    )
    axes.set_yticks(rows, list(domains.index))
    axes.margins(x=0.15)
    axes.set_xlabel("tokens a word")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=150)


if __name__ == "__main__":
    run_program(main)
