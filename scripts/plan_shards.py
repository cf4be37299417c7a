"""Plan the shards of every corpus, and show what they will be.

python scripts/plan_shards.py --dry-run                    what the next run would merge; nothing is written
python scripts/plan_shards.py --config config/config.yaml  records the plans, as snakemake does before its first job
"""

import argparse
from pathlib import Path

from pretrain_llama import configuration
from pretrain_llama.errors import run_program
from pretrain_llama.shards import plan
from pretrain_llama.shards.estimate import tokens_a_byte
from pretrain_llama.tokenization.engines import load_reference

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
    tokenizers = {name: load_reference(chosen["model"]) for name, chosen in config["tokenizers"].items()}
    rows: list[list[str]] = [[*COLUMNS, *(f"tokens, {name}" for name in tokenizers)]]
    corpora = configuration.load_corpora(config["corpora"])
    paths = {corpus.name: args.plans / f"{corpus.name}.json" for corpus in corpora}
    plans = {
        corpus.name: plan.plan_corpus(corpus, paths[corpus.name], config["shard_size_bytes"]) for corpus in corpora
    }
    plan.check_apart(plans, corpora)
    for corpus in corpora:
        path, planned = paths[corpus.name], plans[corpus.name]
        recorded = len(plan.load(path, corpus)["shards"])
        if not args.dry_run:
            plan.record(path, planned)
        sizes = [shard["bytes"] for shard in planned["shards"]]
        counts = [len(planned["files"]), len(sizes), len(sizes) - recorded, sum(sizes), min(sizes), max(sizes)]
        tokens = [sum(sizes) * tokens_a_byte(planned, corpus.text_key, engine) for engine in tokenizers.values()]
        rows.append([corpus.name, *(f"{count:,}" for count in counts), *(f"~{count:,.0f}" for count in tokens)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *figures in rows:
        print(name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(figures, widths[1:], strict=True)))
    print("bytes are of decompressed jsonl; tokens are estimated from the beginning of up to 8 files of each corpus")


if __name__ == "__main__":
    run_program(main)
