"""Write the runs of a sweep: a folder in config/runs/ for each point of its grid.

    python scripts/write_sweep.py config/sweeps/demo-rates.yaml

Then name them in config/config.yaml, all at once, `runs: [demo-rates.*]`, and type snakemake. A run is called
{sweep}.{key}-{value}_{key}-{value}; `tensorboard --logdir results/runs` shows them beside each other.
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.run import sweeps

RUNS = Path("config/runs")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="file that gives the run to vary, and the grid")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs; default: %(default)s")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    base, points = sweeps.load(args.sweep)
    sweeps.write_points(args.runs / base, points, args.runs)
    for point in points:
        print(args.runs / point.run)
    written = {point.run for point in points}
    for folder in sorted(args.runs.glob(f"{args.sweep.stem}.*")):
        if folder.name not in written and (folder / sweeps.MARK).exists():
            print(f"no point of the grid any more, left as it is: {folder}")
    print(f"{len(points)} runs; in config/config.yaml: runs: [{args.sweep.stem}.*]")


if __name__ == "__main__":
    run_program(main)
