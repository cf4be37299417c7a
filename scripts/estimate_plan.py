"""Estimate what a recorded listing's corpora will take: tasks, bytes, requests, node hours, money, wall-clock.

    python scripts/estimate_plan.py --listing listing.tsv                  for 1, 10 and 100 nodes
    python scripts/estimate_plan.py --listing listing.tsv --nodes 8 --json

Reads the listing, config.yaml, the rates and prices that its key `estimate` names, and the table of corpora; no data,
no store, and no plan that is already recorded.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pretrain_llama import configuration
from pretrain_llama.arguments import count
from pretrain_llama.errors import ConfigError, run_program
from pretrain_llama.estimate import plan_cost
from pretrain_llama.estimate.plan_cost import GB, CorpusEstimate
from pretrain_llama.settings import EstimateSettings
from pretrain_llama.shards import listing


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listing", type=Path, required=True, help="recorded listing of the vendor's files (TSV)")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="config.yaml")
    parser.add_argument("--nodes", type=count, nargs="+", default=[1, 10, 100], help="most nodes of a pool, to compare")
    parser.add_argument("--json", action="store_true", help="print JSON: bytes, seconds, currency")
    return parser.parse_args()


def estimate(args: argparse.Namespace) -> dict[str, Any]:
    """Return the whole estimate, as it is printed in JSON."""
    config = configuration.load_config(args.config)
    if "estimate" not in config:
        raise ConfigError(
            "no rates and prices",
            where=args.config,
            action="write estimate: config/estimate.yaml, as shipped",
        )
    settings, tokenizers = plan_cost.load_settings(config, args.config), len(config["tokenizers"])
    files = listing.read(args.listing)
    corpora, taken = [], set()
    for corpus in configuration.load_corpora(config["corpora"]):
        found = listing.matching(files, corpus.source, corpus.where)
        taken |= {file.path for file in found}
        corpora.append(plan_cost.estimate_corpus(corpus, found, config["shard_size_bytes"], tokenizers, settings))
    total = plan_cost.total(corpora, tokenizers, config["held_out_fraction"], settings)
    left = [file.size_bytes for file in files if file.path not in taken]
    return {
        "corpora": [asdict(corpus) for corpus in corpora],
        "total": asdict(total),
        "of_no_corpus": {"files": len(left), "stored_bytes": sum(left)},
        "currency": settings["prices"]["currency"],
        "requests_cost": plan_cost.requests_cost(plan_cost.summed_work(total), settings["prices"]),
        "kept_bytes": (kept := plan_cost.kept_bytes(total, tokenizers, settings)),
        "storage_cost_a_month": kept / GB * settings["prices"]["gb_month"],
        "nodes": [schedule(total, nodes, settings) for nodes in args.nodes],
        "settings": settings,
    }


def schedule(total: CorpusEstimate, nodes: int, settings: EstimateSettings) -> dict[str, float | None]:
    """Return the wall-clock of up to some nodes, and what they cost while they are up: dedicated, or all spot."""
    seconds, billed_seconds = plan_cost.wall_clock_seconds(total, nodes, settings)
    hours, prices = billed_seconds / 3600, settings["prices"]
    return {
        "nodes": nodes,
        "wall_clock_seconds": seconds,
        "billed_node_hours": hours,
        "nodes_cost": hours * prices["node_hour"],
        "spot_nodes_cost": hours * prices["spot_node_hour"] if "spot_node_hour" in prices else None,
    }


def size(count_bytes: float) -> str:
    """Return bytes in the unit, of powers of 1,000, that leaves at least one digit before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if count_bytes < 1000:
            return f"{count_bytes:.4g} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:,.2f} TB"


def print_table(*rows: list[str]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *figures in rows:
        print(name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(figures, widths[1:], strict=True)))
    print()


def print_estimate(value: dict[str, Any]) -> None:
    print_table(
        ["corpus", "files", "stored", "shards", "jsonl", "guessed"],
        *(
            [
                row["corpus"],
                f"{row['files']:,}",
                size(row["stored_bytes"]),
                f"{row['shards']:,}",
                size(row["jsonl_bytes"]),
                size(row["guessed_bytes"]),
            ]
            for row in [*value["corpora"], value["total"]]
        ),
    )
    print_table(
        ["rule", "tasks", "through nodes", "copied in store", "writes", "reads", "node hours", "hours here"],
        *(
            [
                rule,
                f"{work['tasks']:,}",
                size(work["through_nodes_bytes"]),
                size(work["copied_bytes"]),
                f"{work['writes']:,}",
                f"{work['reads']:,}",
                f"{work['node_seconds'] / 3600:,.2f}",
                f"{work['here_seconds'] / 3600:,.2f}",
            ]
            for rule, work in value["total"]["work"].items()
        ),
    )
    currency, requests = value["currency"], value["requests_cost"]
    print_table(
        ["nodes", "wall-clock", "node hours billed", "cost", "on spot nodes", "with requests"],
        *(
            [
                f"{row['nodes']:,}",
                f"{row['wall_clock_seconds'] / 3600:,.2f} h",
                f"{row['billed_node_hours']:,.2f}",
                f"{row['nodes_cost']:,.2f} {currency}",
                "" if row["spot_nodes_cost"] is None else f"{row['spot_nodes_cost']:,.2f} {currency}",
                f"{row['nodes_cost'] + requests:,.2f} {currency}",
            ]
            for row in value["nodes"]
        ),
    )
    print(f"requests: {requests:,.2f} {currency}, once")
    print(f"kept in the store: {size(value['kept_bytes'])}, {value['storage_cost_a_month']:,.2f} {currency} a month")
    print_notes(value)


def print_notes(value: dict[str, Any]) -> None:
    total, left, ratios = value["total"], value["of_no_corpus"], value["settings"]["ratios"]
    if total["guessed_files"]:
        print(
            f"guessed: {total['guessed_files']:,} of {total['files']:,} files are compressed or parquet, and a listing "
            "does not tell what they expand to. Their jsonl, and with it the number of shards, is their size times "
            f"{ratios['gz']:g} (gz), {ratios['zst']:g} (zst), {ratios['parquet']:g} (parquet)"
        )
    if left["files"]:
        print(f"{left['files']:,} files of the listing, {size(left['stored_bytes'])}, are of no corpus")
    print("on spot nodes: all of them, and none preempted; what is preempted is done again, and paid for again")
    print("rates and prices are those of config/estimate.yaml; its comments say where each comes from")


def main() -> None:
    args = parse_args()
    value = estimate(args)
    if args.json:
        print(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        print_estimate(value)


if __name__ == "__main__":
    run_program(main)
