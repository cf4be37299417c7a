"""What tests of mixtures share: a small signature, and compute_probabilities.py run on choices given as values."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pairs import counted_name, write_random_pair
from pretrain_llama import configuration
from pretrain_llama.mixture import choices, signature
from pretrain_llama.mixture.mixture import Mixture, TrainingLength
from pretrain_llama.mixture.probabilities import compute as mixture_of
from project import Result, run_script

SIGNATURE = [
    "ar_news_daily_split_0000_text_document_dc=5_sc=5_tc=500.bin",
    "en_books_tales_split_0000_text_document_dc=9_sc=9_tc=1000.bin",
    "en_books_tales_split_0001_text_document_dc=9_sc=9_tc=3000.bin",
    "en_web_crawl_split_0000_text_document_dc=7_sc=7_tc=2000.bin",
]
RATIO = {"en": {"books": 1, "web": 2}, "ar": {"news": 1}}
TOKENS = 10_000
CORPORA = ("en_books_tales", "en_books_poems", "en_web_crawl", "ar_news_daily")
RUN = {
    "tokenizer": "toy",
    "checkpoint": "toy-llama",
    "training": {
        "iterations": 25,
        "sequence_length_tokens": 20,
        "micro_batch_size_sequences": 1,
        "global_batch_size_sequences": 20,
        "learning_rate": 1.0e-3,
    },
}


def write(path: Path, value: Any) -> Path:
    """Write a JSON or YAML file; a text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dump = json.dumps if path.suffix == ".json" else yaml.safe_dump
    path.write_text(value if isinstance(value, str) else dump(value))
    return path


def compute(
    folder: Path,
    *args: object,
    signature: Any = SIGNATURE,
    ratio: Any = RATIO,
    shares: Any = None,
    excluded: Any = None,
    mixture: dict | None = None,
    run: dict = RUN,
    suffix: str = ".json",
) -> Result:
    """Run compute_probabilities.py; it writes to the folder's out/.

    Args:
        excluded: names; None gives no exclude list.
        mixture: section of run.yaml; None gives the same number of tokens, and no run.yaml.
        suffix: of the choices' files.
    """
    options = {"--signature": write(folder / "signature.json", signature)}
    options["--data-ratio"] = write(folder / f"ratio{suffix}", ratio)
    options["--language-probability"] = write(folder / f"shares{suffix}", shares or {"en": 3, "ar": 1})
    if excluded is not None:
        options["--exclude"] = write(folder / f"exclude{suffix}", {"exclude_iterator_name": excluded})
    if mixture is None:
        options["--total-tokens"] = TOKENS
    else:
        options["--run-config"] = write(folder / "run.yaml", run | {"mixture": mixture})
    words = [word for option in options.items() for word in option]
    return run_script("compute_probabilities.py", *words, "--output-dir", folder / "out", *args)


def compute_here(
    folder: Path,
    length: TrainingLength,
    names: list[str] = SIGNATURE,
    ratio: Any = RATIO,
    shares: Any = None,
    mixture: Any = None,
    excluded: list[str] | None = None,
) -> Mixture:
    """Compute a mixture in this process, from files that are written to a folder; omissions are listed."""
    run = configuration.load_run_file(write(folder / "run.yaml", RUN | {"mixture": mixture or {}}))
    chosen = choices.load(
        write(folder / "ratio.json", ratio),
        write(folder / "shares.json", shares or {"en": 3, "ar": 1}),
        write(folder / "exclude.json", {"exclude_iterator_name": excluded or []}),
        folder / "run.yaml",
        run["mixture"],
        "list",
    )
    return mixture_of(signature.load(write(folder / "signature.json", names)), chosen, length)


def written(folder: Path) -> dict[str, Any]:
    """Return the probabilities.json that `compute` wrote."""
    return json.loads((folder / "out" / "probabilities.json").read_text())


def probabilities(folder: Path) -> dict[str, float]:
    """Return its probabilities, by the names of the shards."""
    return {name.split("_text_document")[0]: p for name, p in written(folder)["probabilities"].items()}


def epochs(folder: Path) -> dict[str, float]:
    """Return its epochs, by the names of the shards."""
    tokens = {name.split("_text_document")[0]: int(name.split("_tc=")[1]) for name in written(folder)["probabilities"]}
    return {shard: p * written(folder)["training_tokens"] / tokens[shard] for shard, p in probabilities(folder).items()}


def write_shard(folder: Path, corpus: str, number: int, lengths: list[int]) -> str:
    """Write a counted pair; return its name in a signature."""
    name = counted_name(f"{corpus}_split_{number:04d}", lengths)
    write_random_pair(folder / name, lengths)
    return f"{name}.bin"


def write_shards(folder: Path, shards: int, seed: int = 0) -> list[str]:
    """Write counted pairs of all corpora in turn; return their names in a signature."""
    random = np.random.default_rng(seed)
    return [
        write_shard(folder, CORPORA[n % 4], n, random.integers(20, 200, int(random.integers(5, 60))).tolist())
        for n in range(shards)
    ]
