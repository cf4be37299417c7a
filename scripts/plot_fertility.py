"""Plot tokens a word by language and domain, before and after a vocabulary was enlarged.

python scripts/plot_fertility.py --fertility expanded/fertility.csv --output fertility.png
"""

import argparse
import csv
from pathlib import Path

from pretrain_llama.errors import run_program

BEFORE, AFTER = "#999999", "#0072b2"  # Okabe and Ito's palette: safe for colour-blind readers


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fertility", type=Path, required=True, help="table that expand_vocabulary.py wrote (CSV)")
    parser.add_argument("--output", type=Path, required=True, help="picture to write (PNG or SVG)")
    return parser.parse_args()


def read_domains(table: Path) -> list[tuple[str, float, float]]:
    """Return language and domain, and tokens a word before and after; both are 0 where the texts have no word."""
    with open(table, encoding="utf-8", newline="") as file:
        return [
            (
                f"{row['language']} {row['domain']}",
                float(row["tokens_per_word_before"] or 0),
                float(row["tokens_per_word_after"] or 0),
            )
            for row in csv.DictReader(file)
        ]


def main() -> None:
    args = parse_args()
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    domains = read_domains(args.fertility)[::-1]  # the first one is drawn on top
    figure, axes = plt.subplots(figsize=(8, 1.5 + 0.5 * len(domains)), layout="constrained")
    rows = range(len(domains))
    axes.barh([row + 0.2 for row in rows], [before for _, before, _ in domains], 0.4, color=BEFORE, label="before")
    bars = axes.barh([row - 0.2 for row in rows], [after for _, _, after in domains], 0.4, color=AFTER, label="after")
    axes.bar_label(bars, [f" {after / before - 1:+.1%}" if before else " no words" for _, before, after in domains])
    axes.set_yticks(rows, [name for name, _, _ in domains])
    axes.margins(x=0.15)
    axes.set_xlabel("tokens a word")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=150)


if __name__ == "__main__":
    run_program(main)
