r"""Look at a folder of vendor files and at a model's folder, and write a configuration that works, with comments.

    python scripts/start.py FOLDER                        a model in FOLDER or beside it is found
    python scripts/start.py FOLDER --model FOLDER_OF_A_LLAMA --run first

Writes config/corpora.tsv, config/config.yaml and config/runs/first/, and then looks at them as a dry-run would. A file
that stood there is kept beside the new one. Languages and domains come from the names of folders and files, the keys of
texts from their first documents, the tokens around documents from the files beside the tokenizer. With a folder that
holds a tokenizer alone, there is no run: snakemake then merges, tokenizes and counts.
"""

import argparse
import re
from pathlib import Path

from pretrain_llama import configuration
from pretrain_llama.errors import ConfigError, PretrainError, run_program
from pretrain_llama.project import Project
from pretrain_llama.start import writing
from pretrain_llama.start.model import find
from pretrain_llama.start.sizes import data_sizes, gpus_here, training_sizes
from pretrain_llama.start.table import Row, look


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the vendor's files, which may have folders in it")
    parser.add_argument("--model", type=Path, help="folder of a Llama of Hugging Face; the default is the one found")
    parser.add_argument("--run", default="first", help="name of the run that is written (default: first)")
    return parser.parse_args()


def _files(row: Row) -> str:
    return "1 file" if len(row.files) == 1 else f"{len(row.files):,} files"


def main() -> None:
    args = parse_args()
    if not re.fullmatch(r"[A-Za-z0-9._-]+", args.run):
        raise ConfigError(
            f"{args.run!r} is no name of a run", where="--run", action='take letters, digits, ".", "_" and "-"'
        )
    looked = look(args.folder)
    model = find(args.folder, args.model)
    has_run = model.architecture is not None
    if has_run:
        writing.check_new(args.run)
    sizes = data_sizes(looked.rows)
    texts = {
        writing.TABLE: writing.table_text(looked.rows),
        writing.CONFIG: writing.config_text(looked, sizes, model, args.run if has_run else None),
    }
    if model.architecture:
        training = training_sizes(looked.rows, model, model.architecture, gpus_here())
        folder = f"{writing.RUNS}/{args.run}"
        texts |= {f"{folder}/{name}": text for name, text in writing.run_texts(looked.rows, training, model).items()}
    for path, text in texts.items():
        kept = writing.write(path, text)
        print(f"wrote {path}" + (f"; what stood there is {kept} now" if kept else ""))
    for row in looked.rows:
        language, domain, subdomain = row.naming.language, row.naming.domain, row.naming.subdomain
        print(f"  {language} {domain} {subdomain}: {row.source}, {_files(row)}, text under {row.text_key!r}")
    for note in (*looked.notes, *model.notes):
        print(f"  {note}")
    try:
        Project.open(configuration.read_keys(writing.CONFIG), "", True)
    except PretrainError as error:
        raise ConfigError(
            f"one thing is left to do before snakemake runs: {error}",
            where=writing.CONFIG,
            action="do what is said above, then snakemake --dry-run",
        ) from None
    print("next: snakemake --dry-run, then snakemake")


if __name__ == "__main__":
    run_program(main)
