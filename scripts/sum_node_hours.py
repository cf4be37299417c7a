"""Sum the node hours that runs on Azure Batch took, from the times of their tasks, and compare the estimate.

    python scripts/sum_node_hours.py
    python scripts/sum_node_hours.py --tasks results/azure_tasks.tsv --listing listing.tsv

Reads the file that the executor appends a line to for each task that has ended, and prices from config.yaml. With a
listing of the vendor's files, what estimate_plan.py expects stands beside it.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import estimate_plan
from pretrain_llama import configuration
from pretrain_llama.errors import run_program
from pretrain_llama.estimate import node_hours, plan_cost

if TYPE_CHECKING:
    from pandas import DataFrame

PRICES = {"dedicated": "node_hour", "spot": "spot_node_hour"}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=Path, default=Path("results/azure_tasks.tsv"), help="the tasks that have ended")
    parser.add_argument("--listing", type=Path, help="recorded listing of the vendor's files (TSV), to estimate from")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="config.yaml")
    return parser.parse_args()


def estimated_hours(args: argparse.Namespace) -> dict[str, float]:
    """Return the node hours that estimate_plan.py expects, by rule; none without a listing."""
    if args.listing is None:
        return {}
    of_plan = argparse.Namespace(listing=args.listing, config=args.config, nodes=[])
    work = estimate_plan.estimate(of_plan)["total"]["work"]
    return {rule: its["node_seconds"] / 3600 for rule, its in work.items() if its["node_seconds"]}


def print_rules(tasks: "DataFrame", expected: dict[str, float]) -> None:
    found = node_hours.by_rule(tasks)
    found = found.reindex(found.index.union(list(expected)), fill_value=0)
    rows = [
        [line.Index, f"{line.tasks:,}", f"{line.hours:,.2f}", _hours(expected.get(line.Index))]
        for line in found.itertuples()
    ]
    whole = sum(expected.values()) if expected else None
    rows.append(["total", f"{len(tasks):,}", f"{found['hours'].sum():,.2f}", _hours(whole)])
    estimate_plan.print_table(["rule", "tasks", "node hours", "estimated"], *rows)


def _hours(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def print_machines(tasks: "DataFrame", prices: dict[str, Any]) -> None:
    rows = []
    for (size, kind), nodes, hours in node_hours.by_machine(tasks).itertuples():
        price = prices.get(PRICES.get(kind, ""))
        cost = "" if price is None else f"{hours * price:,.2f} {prices['currency']}"
        rows.append([size, kind, f"{nodes:,}", f"{hours:,.2f}", cost])
    estimate_plan.print_table(["machine", "kind", "nodes", "node hours", "cost"], *rows)


def main() -> None:
    args = parse_args()
    tasks = node_hours.read(args.tasks)
    print_rules(tasks, estimated_hours(args))
    config = configuration.load_config(args.config)
    print_machines(tasks, plan_cost.load_settings(config, args.config)["prices"] if "estimate" in config else {})
    print("by rule: the times of the tasks, over the tasks that share a node; what a lost node had done is not in it")
    print("by machine: from a node's first task to its last; its start, and up to 15 minutes without a task, cost more")


if __name__ == "__main__":
    run_program(main)
