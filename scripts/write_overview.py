"""Write the first page of the report: documents, tokens by language, mixtures, trainings, and what is pending.

python scripts/write_overview.py --pending pending.txt --output results/overview.html

`make report` calls it. It reads what is in results/ now; what is not made yet is left out.
"""

import argparse
from pathlib import Path

from pretrain_llama import configuration
from pretrain_llama.errors import PretrainError, run_program
from pretrain_llama.files import write_text
from pretrain_llama.vocabulary.expansion import configured_identity


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="config.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the results")
    parser.add_argument("--pending", type=Path, help="what `snakemake --dry-run` printed; may be missing")
    parser.add_argument("--node-hours", type=Path, help="what sum_node_hours.py printed; may be missing")
    parser.add_argument("--output", type=Path, required=True, help="part of a page to write (HTML)")
    return parser.parse_args()


def _text(path: Path | None) -> str:
    return path.read_text(encoding="utf-8") if path and path.exists() else ""


def main() -> None:
    args = parse_args()
    config = configuration.load_config(args.config)
    from pretrain_llama.report.overview import page

    tokenizers = []
    for name in [*config["tokenizers"], *config["expansions"]]:
        try:
            tokenizers.append(configured_identity(name, config, str(args.results)))
        except PretrainError as error:
            print(f"tokenizer {name} is left out: {error}")
    runs = configuration.find_runs(config["runs"], args.config.parent / "runs")
    write_text(args.output, page(args.results, tokenizers, runs, _text(args.pending), _text(args.node_hours)))


if __name__ == "__main__":
    run_program(main)
