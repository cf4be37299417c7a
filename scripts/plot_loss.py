"""Plot the losses of a training and of its validation sets against the tokens consumed.

The dashed line is the unigram entropy of the data.

python scripts/plot_loss.py --run-folder results/runs/demo --output loss.png
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-folder", type=Path, required=True, help="folder of the run that was trained")
    parser.add_argument("--output", type=Path, required=True, help="picture to write (PNG or SVG)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import EngFormatter

    from pretrain_llama.files import read_json
    from pretrain_llama.training.log_file import VALIDATION, read_log

    records = read_log(args.run_folder / "output")
    entropy = read_json(args.run_folder / "summary.json")["unigram_entropy"]
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(
        [r["consumed_tokens"] for r in records], [r["loss"] for r in records], color="#333333", label="training loss"
    )
    evaluated = read_log(args.run_folder / "output", VALIDATION)
    for name in evaluated[-1]["loss"] if evaluated else []:
        points = [(r["consumed_tokens"], r["loss"][name]) for r in evaluated if name in r["loss"]]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1, label=f"validation, {name}")
    axes.axhline(entropy, color="#d55e00", linestyle="--", label="unigram entropy of the data")
    axes.set_xlabel("tokens consumed")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_ylabel("loss, nats a token")
    axes.legend(fontsize="small", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(args.output, dpi=150)


if __name__ == "__main__":
    run_program(main)
