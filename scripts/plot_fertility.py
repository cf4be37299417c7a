"""Plot tokens a word by language and domain, before and after a vocabulary was enlarged.

python scripts/plot_fertility.py --fertility expanded/fertility.csv --output fertility.png
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program

BEFORE, AFTER = "#999999", "#0072b2"  # Okabe and Ito's palette: safe for colour-blind readers


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fertility", type=Path, required=True, help="table that expand_vocabulary.py wrote (CSV)")
    parser.add_argument("--output", type=Path, required=True, help="picture to write (PNG or SVG)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    import matplotlib

    matplotlib.use("agg")
    import pandas as pd
    from matplotlib import pyplot as plt

    domains = pd.read_csv(args.fertility, keep_default_na=False).iloc[::-1]
    figure, axes = plt.subplots(figsize=(8, 1.5 + 0.5 * len(domains)), layout="constrained")
    rows = range(len(domains))
    axes.barh([row + 0.2 for row in rows], domains["tokens_per_word_before"], 0.4, color=BEFORE, label="before")
    bars = axes.barh([row - 0.2 for row in rows], domains["tokens_per_word_after"], 0.4, color=AFTER, label="after")
    change = domains["tokens_per_word_after"] / domains["tokens_per_word_before"] - 1
    axes.bar_label(bars, [f" {value:+.1%}" for value in change])
    axes.set_yticks(rows, [f"{row.language} {row.domain}" for row in domains.itertuples()])
    axes.margins(x=0.15)
    axes.set_xlabel("tokens a word")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=150)


if __name__ == "__main__":
    run_program(main)
