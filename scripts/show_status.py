"""Show where the project stands: shards by stage, documents, tokens, runs, and the newest Snakemake run.

    python scripts/show_status.py                                    or: make status
    python scripts/show_status.py --results az://container/results   of results in a store, runs as well

Nothing is run and nothing is written. `snakemake --dry-run` says which jobs are pending.
"""

import argparse
from pathlib import Path

import yaml

from pretrain_llama import configuration, stores
from pretrain_llama.errors import PretrainError, run_program
from pretrain_llama.run.account import read_account
from pretrain_llama.run.state import told
from pretrain_llama.settings import ConfigSettings
from pretrain_llama.status.certificates import notices
from pretrain_llama.status.known import known_of
from pretrain_llama.status.orphans import orphans, told_of
from pretrain_llama.status.shards import CorpusStatus, corpus_status, total
from pretrain_llama.status.snakemake_log import NewestRun, failures, newest_run
from pretrain_llama.vocabulary.expansion import configured_identity

COUNTS = ("planned", "merged", "tokenized", "documents", "tokens", "held_out", "rejected", "new_files")
SHOWN_JOBS = 5


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="config.yaml")
    parser.add_argument("--results", default="results", help="where results lie: a folder, or az://container/path")
    return parser.parse_args()


def shards_table(rows: list[CorpusStatus]) -> str:
    width = max(len(row.corpus) for row in rows)
    lines = [" " * width + "".join(f"{name.replace('_', ' '):>{_width(name)}}" for name in COUNTS)]
    for row in rows:
        counts = "".join(f"{getattr(row, name):>{_width(name)},}" for name in COUNTS)
        lines.append(f"{row.corpus:<{width}}{counts}" + (f"   {row.problem}" if row.problem else ""))
    return "\n".join(lines)


def _width(name: str) -> int:
    return 18 if name == "tokens" else max(len(name) + 2, 11)


def run_line(run: str, results: str) -> str:
    """Say how far a run is; iterations are optimizer steps."""
    folder = f"{results}/runs/{run}"
    if stores.read_small(f"{folder}/manifest.json") is None:
        return f"run {run}: its folder is not written yet"
    if (chosen := stores.read_small(f"{folder}/run.yaml")) is None:
        return f"run {run}: its folder has no run.yaml; without its manifest.json, snakemake writes it again"
    run_yaml = configuration.validate(yaml.safe_load(chosen), "run", f"{folder}/run.yaml")
    return f"run {run}: {told(folder, read_account(folder, run_yaml))}"


def snakemake_lines(run: NewestRun | None) -> list[str]:
    if run is None:
        return ["Snakemake has not run here"]
    state = "is running" if run.is_running else "ended"
    lines = [f"the newest Snakemake here {state}: {run.log}"]
    verb = "in progress" if run.is_running else "interrupted"
    lines += [f"  {verb}: {job.rule} {job.output}" for job in run.in_progress[:SHOWN_JOBS]]
    if len(run.in_progress) > SHOWN_JOBS:
        lines.append(f"  and {len(run.in_progress) - SHOWN_JOBS:,} more")
    return lines + failures(run, Path(), SHOWN_JOBS)


def certificate_lines(identity: str, results: str) -> list[str]:
    """Say what the certificate of a tokenizer tells, or why it cannot be read."""
    try:
        return list(notices(identity, results))
    except PretrainError as error:
        return [str(error)]


def orphan_lines(config: ConfigSettings, args: argparse.Namespace) -> list[str]:
    """Say which files belong to nothing; nothing where that cannot be known, which is said above."""
    try:
        return told_of(orphans(args.results, known_of(config, args.config, args.results)))
    except PretrainError:
        return []


def main() -> None:
    args = parse_args()
    config = configuration.load_config(args.config)
    corpora = configuration.load_corpora(config["corpora"])
    for name in [*config["tokenizers"], *config["expansions"]]:
        try:
            identity = configured_identity(name, config, args.results)
        except PretrainError as error:
            print(f"tokenizer {name}: {error}\n")
            continue
        rows = [corpus_status(corpus, args.results, identity) for corpus in corpora]
        summed = total(rows)
        print(f"shards of tokenizer {identity}\n{shards_table([*rows, summed])}")
        pending = summed.planned - summed.tokenized
        print(f"pending: {pending:,} shards, {summed.new_files:,} vendor files that no plan holds yet")
        print(*certificate_lines(identity, args.results), sep="\n")
        for row in rows:
            if row.kept.with_new_pieces:
                print(f"{row.corpus} was to stay unchanged: {row.kept.told}")
        print()
    try:
        runs = configuration.find_runs(config["runs"], args.config.parent / "runs")
    except PretrainError as error:
        print(f"runs: {error}")
        runs = []
    for run in runs:
        try:
            print(run_line(run, args.results))
        except PretrainError as error:
            print(f"run {run}: {error}")
    print(*orphan_lines(config, args), sep="\n")
    print("", *snakemake_lines(newest_run(Path())), sep="\n")


if __name__ == "__main__":
    run_program(main)
