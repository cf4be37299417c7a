"""Plan the shards of every corpus, and show them.

python scripts/plan_shards.py --dry-run                    what the next run would merge; nothing is written
python scripts/plan_shards.py --config config/config.yaml  records the plans, as snakemake does before its first job
"""

import argparse
import sys
from pathlib import Path

from pretrain_llama import configuration
from pretrain_llama.errors import made_of_each, run_program
from pretrain_llama.estimate.corpus import tokens_a_byte
from pretrain_llama.shards import copies, plan
from pretrain_llama.shards.planned import live_shards
from pretrain_llama.tokenization.tokenizer import Tokenizer

COLUMNS = ("corpus", "files", "shards", "to come", "bytes", "smallest", "largest")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="config.yaml")
    parser.add_argument("--plans", type=Path, default=Path("results/plan"), help="folder of the recorded plans")
    parser.add_argument("--dry-run", action="store_true", help="only show them")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = configuration.load_config(args.config)
    tokenizers = {name: Tokenizer(name, **chosen).reference for name, chosen in config["tokenizers"].items()}
    rows: list[list[str]] = [[*COLUMNS, *(f"tokens, {name}" for name in tokenizers)]]
    corpora = configuration.load_corpora(config["corpora"])
    paths = {corpus.name: args.plans / f"{corpus.name}.json" for corpus in corpora}
    recorded = {corpus.name: plan.load(paths[corpus.name], corpus) for corpus in corpora}
    planned_corpora = made_of_each(
        corpora,
        lambda corpus: plan.plan_corpus(corpus, recorded[corpus.name], config["shard_size_bytes"]),
        config["corpora"],
    )
    plans = {planned["corpus"]: planned for planned in planned_corpora}
    found = copies.look(plans, recorded, corpora, config["duplicates"])
    if not args.dry_run:
        found.settle()
    for corpus in corpora:
        planned = plans[corpus.name]
        if not args.dry_run:
            plan.record(paths[corpus.name], planned)
        sizes = [shard["bytes"] for shard in live_shards(planned).values()]
        to_come = len(sizes) - len(live_shards(recorded[corpus.name]))
        counts = [len(planned["files"]), len(sizes), to_come, sum(sizes), min(sizes), max(sizes)]
        tokens = [sum(sizes) * tokens_a_byte(planned, corpus.text_key, engine) for engine in tokenizers.values()]
        rows.append([corpus.name, *(f"{count:,}" for count in counts), *(f"~{count:,.0f}" for count in tokens)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *figures in rows:
        print(name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(figures, widths[1:], strict=True)))
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    print("bytes are of decompressed jsonl; tokens are estimated from the beginning of up to 8 files of each corpus")


if __name__ == "__main__":
    run_program(main)
