"""Plot a mixture: tokens there and tokens sampled, by language and domain, with epochs.

python scripts/plot_mixture.py --probabilities results/runs/demo/mixture/probabilities.csv --output mixture.png
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program

THERE, SAMPLED = "#999999", "#0072b2"  # Okabe and Ito's palette: safe for colour-blind readers


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probabilities", type=Path, required=True, help="probabilities.csv of the mixture")
    parser.add_argument("--output", type=Path, required=True, help="picture to write (PNG or SVG)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    import matplotlib

    matplotlib.use("agg")
    import pandas as pd
    from matplotlib import pyplot as plt
    from matplotlib.ticker import EngFormatter

    shards = pd.read_csv(args.probabilities, keep_default_na=False)
    domains = shards.groupby(["language", "domain"])[["tokens", "sampled_tokens"]].sum().iloc[::-1]
    figure, axes = plt.subplots(figsize=(8, 1.5 + 0.5 * len(domains)), layout="constrained")
    rows = range(len(domains))
    axes.barh([row + 0.2 for row in rows], domains["tokens"], 0.4, color=THERE, label="there")
    bars = axes.barh([row - 0.2 for row in rows], domains["sampled_tokens"], 0.4, color=SAMPLED, label="sampled")
    epochs = domains["sampled_tokens"] / domains["tokens"]
    axes.bar_label(bars, [f" {value:.3g} epochs" for value in epochs])
    axes.set_yticks(rows, [" ".join(name) for name in domains.index])
    axes.margins(x=0.15)
    axes.set_xlabel("tokens")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=150)


if __name__ == "__main__":
    run_program(main)
