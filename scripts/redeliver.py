r"""Take vendor files as they are now, corrected or gone, though shards that hold them are finished.

    python scripts/redeliver.py en_code_python 'vendor/en_code_python/a.jsonl'
    python scripts/redeliver.py en_code_python 'az://vendor/code/a.jsonl' --results az://results/results

The shards that hold any of these files leave the plan. What the files hold now, and what else these shards held, is
planned as new shards; nothing else is made again. What was made of the old shards stays until scripts/remove_orphans.py
removes it: a training that began with it goes on, or is told what changed, as with any other change of the data.
"""

import argparse
from pathlib import Path

from pretrain_llama import configuration, stores
from pretrain_llama.errors import ConfigError, listed, run_program
from pretrain_llama.shards import plan
from pretrain_llama.shards.changes import shards_with
from pretrain_llama.shards.planned import live_shards
from pretrain_llama.tokenization.certificate import finished_shards


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="name of the corpus: language_domain_subdomain")
    parser.add_argument("files", nargs="+", help="vendor files, as its plan has them")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="config.yaml")
    parser.add_argument("--results", default="results", help="where results lie: a folder, or az://container/path")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = configuration.load_config(args.config)
    corpora = {corpus.name: corpus for corpus in configuration.load_corpora(config["corpora"])}
    configuration.check_choice(args.corpus, corpora, "corpus", config["corpora"])
    corpus = corpora[args.corpus]
    location = f"{args.results}/plan/{corpus.name}.json"
    recorded = plan.load(location, corpus)
    unknown = [path for path in args.files if path not in recorded["files"]]
    if unknown:
        raise ConfigError(
            f"no planned file {unknown[0]!r}",
            where=location,
            action=f"name files as the plan does: {listed(list(recorded['files']))}",
        )
    holding = shards_with(recorded, args.files)
    finished = finished_shards(args.results, holding)
    listing = stores.list_files(corpus.source, corpus.where)
    planned = plan.extend(
        recorded,
        [file for file in listing if file.path in recorded["files"]],
        corpus,
        config["shard_size_bytes"],
        finished=lambda shards: finished_shards(args.results, shards),
        redelivered=args.files,
    )
    same = [path for path in args.files if planned["files"].get(path) == recorded["files"][path]]
    if same:
        raise ConfigError(
            f"{same[0]} holds what it held when it was planned",
            where=location,
            action="name the files that changed or vanished; snakemake --dry-run names the first of them",
        )
    plan.record(location, planned)
    for shard in holding:
        print(f"leaves the plan: {shard}" + (", which is finished" if shard in finished else ""))
    for shard, new in live_shards(planned).items():
        if shard not in live_shards(recorded):
            paths = {part["path"] for part in new["ranges"]}
            print(f"is planned: {shard}, {new['bytes']:,} bytes of {len(paths):,} files")
    print("next: snakemake --dry-run; make status names what is left of the old shards")


if __name__ == "__main__":
    run_program(main)
