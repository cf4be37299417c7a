"""A small project to run the workflow in: the shipped programs, rules and configuration, with their numbers shrunk."""

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pyarrow
import sentencepiece
import yaml
from backports import zstd
from pyarrow import parquet

from pretrain_llama.configuration import Corpus
from pretrain_llama.shards import plan
from pretrain_llama.stores import source_file

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
Result = subprocess.CompletedProcess
SHARD = "en_books_tales_split_0000"
PREFIX = f"{SHARD}_text_document"
COLUMNS = ("language", "domain", "subdomain", "source", "text_key")


def run_script(name: str, *args: object, cwd: Path | None = None) -> Result:
    """Run a program of scripts/ as a user would; nothing is raised."""
    command = [sys.executable, str(SCRIPTS / name), *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def train_tokenizer(path: Path, **options: object) -> Path:
    """Train a SentencePiece model, by default of kind BPE with byte fallback, of 400 pieces, and write it."""
    model = io.BytesIO()
    usual = {"model_type": "bpe", "vocab_size": 400, "byte_fallback": True}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("\n".join(topics.values()).split("\n")[:2000]),
        model_writer=model,
        minloglevel=2,
        **(usual | options),
    )
    path.write_bytes(model.getvalue())
    return path


def deliver(path: Path, content: bytes) -> Path:
    """Write a vendor file, in the format that its suffix names, from jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        rows = [json.loads(line) for line in content.splitlines()]
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_bytes({".gz": gzip.compress, ".zst": zstd.compress}.get(path.suffix, bytes)(content))
    return path


def plan_files(folder: Path, *files: Path, text_key: str = "text", target_bytes: int = 1 << 40) -> Path:
    """Record a plan of the corpus en_books_tales, by default with one shard, of files; return its path."""
    corpus = Corpus("en", "books", "tales", "", text_key, "corpora.tsv:2")
    empty = plan.load(folder / "none.json", corpus)
    listing = [source_file(file) for file in files]
    (folder / "plan.json").unlink(missing_ok=True)
    plan.record(folder / "plan.json", plan.extend(empty, listing, corpus, target_bytes))
    return folder / "plan.json"


def merge_shard(folder: Path, *files: Path, text_key: str = "text") -> Result:
    """Plan files as one shard and run merge_shard.py, which writes shard.jsonl and merge.json there."""
    planned = ["--plan", plan_files(folder, *files, text_key=text_key), "--shard", SHARD]
    return run_script(
        "merge_shard.py", *planned, "--output", folder / "shard.jsonl", "--receipt", folder / "merge.json"
    )


def tokenize_shard(folder: Path, model: Path, *args: object) -> Result:
    """Run tokenize_shard.py on what merge_shard left there; it writes PREFIX.bin and so on."""
    shard = ["--shard", SHARD, "--jsonl", folder / "shard.jsonl", "--merge-receipt", folder / "merge.json"]
    tokenizer = ["--text-key", "text", "--tokenizer", "toy.01234567", "--tokenizer-model", model]
    return run_script("tokenize_shard.py", *shard, *tokenizer, "--output-prefix", folder / PREFIX, *args)


def jsonl(texts: list[str], key: str = "text", newline: str = "\n", final_newline: bool = True) -> bytes:
    """A vendor file: a document for each text."""
    content = newline.join(json.dumps({key: text}, ensure_ascii=False) for text in texts)
    return (content + (newline if final_newline and texts else "")).encode()


class Project:
    """A working directory with two corpora, en_books_tales and ar_news_daily, and a run called tiny."""

    def __init__(self, folder: Path, tokenizer: Path, llama: Path) -> None:
        self.folder = folder
        self.link_programs()
        shutil.copytree(ROOT / "config" / "runs" / "demo", folder / "config" / "runs" / "tiny")
        self.vendor("en_books_tales/a.jsonl", jsonl([f"A tale of {n} ships, and of the sea." for n in range(300)]))
        self.vendor("ar_news_daily/a.jsonl", jsonl([f"خبر رقم {n} من المدينة اليوم" for n in range(100)]))
        self.corpora(
            ["en", "books", "tales", "vendor/en_books_tales/*", "text"],
            ["ar", "news", "daily", "vendor/ar_news_daily/*", "text"],
        )
        shipped = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        self.config = shipped | {
            "shard_size_bytes": 5_000,
            "tokenizers": {"toy": {"model": str(tokenizer)}},
            "checkpoints": {"toy-llama": str(llama)},
            "runs": ["tiny"],
        }
        self.run = yaml.safe_load((ROOT / "config" / "runs" / "demo" / "run.yaml").read_text())
        self.run |= {"tokenizer": "toy", "checkpoint": "toy-llama"}
        self.run["training"] |= {
            "iterations": 6,
            "sequence_length_tokens": 32,
            "micro_batch_size_sequences": 2,
            "global_batch_size_sequences": 8,
            "warmup_iterations": 1,
        }
        self.run["operation"] = {"checkpoint_every_iterations": 2, "log_every_iterations": 1}
        self.run["sample"] = {"prompts": ["A tale of "], "new_tokens": 4}
        self.choose("data_ratio.json", {"en": {"books": 1}, "ar": {"news": 2}})
        self.save()

    def link_programs(self) -> None:
        """Have the repository's programs and rules there, as a clone has."""
        for part in ("Snakefile", "rules", "scripts", "profiles", "envs", "docs"):
            (self.folder / part).symlink_to(ROOT / part)
        for link in ("azure-batch", "slurm"):  # so that `--profile slurm` finds it
            (self.folder / link).symlink_to(f"profiles/{link}")
        (self.folder / "config").mkdir(exist_ok=True)
        (self.folder / "config" / "schemas").symlink_to(ROOT / "config" / "schemas")
        shutil.copy(ROOT / "config" / "estimate.yaml", self.folder / "config" / "estimate.yaml")

    def copied_to(self, folder: Path) -> "Project":
        """Return a copy in another folder, with what was built and its times."""
        copied = deepcopy(self)
        copied.folder = shutil.copytree(self.folder, folder, symlinks=True)
        return copied

    def copied_run(self, folder: Path) -> Path:
        """Return a copy of the run folder of tiny in another place, as it was before it was trained."""
        left_out = shutil.ignore_patterns("output", "export")
        return shutil.copytree(self.folder / "results" / "runs" / "tiny", folder, ignore=left_out)

    def save(self) -> None:
        """Write config.yaml and run.yaml as they now stand in `config` and `run`."""
        (self.folder / "config" / "config.yaml").write_text(yaml.safe_dump(self.config))
        (self.folder / "config" / "runs" / "tiny" / "run.yaml").write_text(yaml.safe_dump(self.run))

    def choose(self, name: str, value: Any) -> None:
        """Write one of the run's JSON files."""
        (self.folder / "config" / "runs" / "tiny" / name).write_text(json.dumps(value))

    def corpora(self, *rows: list[str], columns: tuple[str, ...] = COLUMNS) -> None:
        """Write the table of corpora."""
        with open(self.folder / "config" / "corpora.tsv", "w", newline="") as file:
            csv.writer(file, delimiter="\t").writerows([columns, *rows])

    def vendor(self, name: str, content: bytes) -> Path:
        """Deliver a vendor file, given as jsonl."""
        return deliver(self.folder / "vendor" / name, content)

    def snakemake(self, *args: str) -> Result:
        """Run snakemake there, as a user does at the root of a clone."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        command = [sys.executable, "-m", "snakemake", *args]
        return subprocess.run(command, cwd=self.folder, env=os.environ | {"PATH": path}, capture_output=True, text=True)

    def pending(self, *args: str) -> dict[str, int]:
        """The jobs by rule that a dry-run shows."""
        result = self.snakemake("--dry-run", *args)
        assert result.returncode == 0, result.stdout + result.stderr
        lines = iter(result.stdout.splitlines())
        counts = {}
        for line in lines:
            if line.split()[:2] in (["rule", "jobs"], ["job", "count"]):  # of this project's screen, of Snakemake's own
                while (words := next(lines).split()) and words[0] != "total":
                    if words[1].isdigit():
                        counts[words[0]] = int(words[1])
                break
        return counts
