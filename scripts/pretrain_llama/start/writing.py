"""Write a first configuration, with comments; what stood there before is kept beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain_llama import files
from pretrain_llama.configuration import COLUMNS
from pretrain_llama.errors import ConfigError
from pretrain_llama.mixture.choices import FILES
from pretrain_llama.start.model import Model
from pretrain_llama.start.naming import UNKNOWN
from pretrain_llama.start.sizes import DataSizes, TrainingSizes
from pretrain_llama.start.table import Looked, Row

TABLE, CONFIG = "config/corpora.tsv", "config/config.yaml"
RUNS = "config/runs"
PROMPTS, PROMPT_WORDS, PROMPT_CHARACTERS = 4, 4, 60


def check_new(run: str) -> None:
    """Raise ConfigError if there is a run of that name: what a person wrote is never replaced."""
    if Path(RUNS, run).exists():
        raise ConfigError(
            f"there is a run {run!r} already",
            where=f"{RUNS}/{run}",
            action="give another name by --run, or move it away",
        )


def table_text(rows: Sequence[Row]) -> str:
    """Return the table of corpora."""
    return "\n".join(["\t".join(COLUMNS), *(row.written for row in rows)]) + "\n"


def config_text(looked: Looked, sizes: DataSizes, model: Model, run: str | None) -> str:
    """Return config.yaml; run: that is written beside it, None for none."""
    unknown = [row.source for row in looked.rows if row.naming.language == UNKNOWN]
    notes = [
        f"Corpora: {len(looked.rows):,}; files: {sum(len(row.files) for row in looked.rows):,}; bytes of jsonl: "
        f"{sizes.about:,}, about.",
        "Languages and domains come from the names of folders and files: correct them before the first run.",
        *([f'No name tells the language of {", ".join(unknown)}: "{UNKNOWN}" stands for it.'] if unknown else []),
        *looked.notes,
        *model.notes,
    ]
    tokenizer = "".join(f"    {key}: {_yaml(value)}\n" for key, value in model.settings.items())
    text = (
        "# Written by scripts/start.py. Every key, with its default: docs/reference.md.\n\n"
        + "".join(f"# {note}\n" for note in notes)
        + f"corpora: {TABLE}\n\n"
        + "# What merged shards aim at, in bytes of jsonl.\n"
        + f"shard_size_bytes: {sizes.shard_bytes}\n\n"
        + "# Documents held out of training, as a fraction of all; validation losses are measured on them.\n"
        + f"held_out_fraction: {sizes.held_out_fraction}\n\n"
        + f"# What stands around each document was looked up beside the tokenizer.\ntokenizers:\n  {model.name}:\n"
        + tokenizer
    )
    if run is None:
        return text + "\n# Without checkpoints and runs, snakemake ends with the counted shards.\n"
    return text + f"\ncheckpoints:\n  {model.name}: {_yaml(str(model.folder))}\n\nruns: [{run}]\n"


def run_texts(rows: Sequence[Row], sizes: TrainingSizes, model: Model) -> dict[str, str]:
    """Return what the files of a run's folder hold, by name."""
    domains = list(dict.fromkeys(row.naming.domain for row in rows))
    rates = "".join(f"{_yaml(domain)}: 1\n" for domain in domains)
    ratio, language, exclude = FILES
    return {
        "run.yaml": (
            f"tokenizer: {model.name}\ncheckpoint: {model.name}\n\n"
            "# Processes; each tensor or pipeline part is a further one. Data: the GPUs of this machine, or 1.\n"
            f"parallel:\n  tensor: 1\n  pipeline: 1\n  data: {sizes.processes}\n\n"
            f"training:\n  # Once over about {sizes.tokens:,} tokens, as many as a sample of the texts lets expect.\n"
            f"  iterations: {sizes.iterations}\n"
            f"  sequence_length_tokens: {sizes.sequence_length}\n"
            f"  micro_batch_size_sequences: {sizes.micro_batch}\n"
            f"  global_batch_size_sequences: {sizes.global_batch}\n"
            f"  precision: {sizes.precision}\n"
            f"  # A guess by the model's size: try others.\n"
            f"  learning_rate: {_number(sizes.learning_rate)}\n"
            f"  min_learning_rate: {_number(sizes.learning_rate / 10)}\n"
            f"  warmup_iterations: {min(sizes.iterations // 20, 2000)}\n\n"
            f"operation:\n  checkpoint_every_iterations: {max(1, min(1000, sizes.iterations // 4))}\n"
            f"  evaluate_every_iterations: {max(1, min(1000, sizes.iterations // 4))}\n\n"
            "sample:\n  # The trained model continues these: the first words of a text of each language.\n  prompts:\n"
            + "".join(f"    - {_yaml(prompt)}\n" for prompt in _prompts(rows))
        ),
        f"{ratio}.yaml": "# How much a token of a domain counts against those of others: docs/mixture.md.\n" + rates,
        f"{language}.yaml": "# Each language by its tokens; or numbers, such as {en: 0.7, ar: 0.3}.\nproportional\n",
        f"{exclude}.yaml": "# Names of shards to leave out.\nexclude_iterator_name: []\n",
    }


def write(path: str, text: str) -> str | None:
    """Write a file, and keep what it held before beside it; return the name of that, None where there was none."""
    target, kept = Path(path), None
    if target.exists() and target.read_text(encoding="utf-8", errors="replace") != text:
        names = (target.with_name(f"{target.stem}.before-{number}{target.suffix}") for number in range(1, 10_000))
        kept = next(name for name in names if not name.exists())
        target.rename(kept)
    with files.replacing(target, "w") as file:
        file.write(text)
    return str(kept) if kept else None


def _prompts(rows: Sequence[Row]) -> list[str]:
    """Return the first words of a text of each language, of the first four."""
    first: dict[str, str] = {}
    for row in rows:
        for text in (text for file in row.files for text in file.texts):
            first.setdefault(row.naming.language, text)
    beginnings = (" ".join(text[:PROMPT_CHARACTERS].split()[:PROMPT_WORDS]) for text in first.values())
    return list(filter(None, beginnings))[:PROMPTS]


def _yaml(value: Any) -> str:
    """Return a value as YAML has it; JSON is YAML, and needs no list of words that mean something else."""
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    return f"{value:.1e}"
