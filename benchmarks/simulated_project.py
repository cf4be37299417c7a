"""A project of many shards: the shipped Snakefile, rules and configuration, sparse vendor files, recorders as programs.

In its folder bare/ is the peer: bare.smk over the same results.
"""

import contextlib
import csv
import os
import shutil
from pathlib import Path

import numpy as np
import recorder
import yaml

from pretrain_llama import configuration
from pretrain_llama.files import read_json, write_json
from pretrain_llama.names import PREFIX_SUFFIX, parse_counted
from pretrain_llama.shards import plan
from pretrain_llama.tokenization.indexed import writing_indexed
from pretrain_llama.tokenization.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[1]
SHARDS_A_CORPUS = 500
# Above the 2 x 65,536 bytes that a fingerprint reads; sparse, so that no disk is needed.
FILE_BYTES = 1 << 18
COLUMNS = ("language", "domain", "subdomain", "source", "text_key")
# These read receipts, names and plans alone: the shipped programs run, and check what the recorders wrote.
REAL_PROGRAMS = ("sign_data", "check_conservation", "compute_probabilities")


class SimulatedProject:
    """A working directory with a vendor file, and so a shard, for each of a number of shards; nothing is built."""

    def __init__(self, folder: Path, shards: int) -> None:
        self.folder = folder
        self.corpora = [f"en_domain{n}_tales" for n in range(-(-shards // SHARDS_A_CORPUS))]
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "config").mkdir(parents=True)
        for part in ("Snakefile", "rules", "profiles", "envs", "resources", "config/schemas"):
            (folder / part).symlink_to(ROOT / part)
        self._link_programs()
        self._configure()
        for number in range(shards):
            self.deliver(self.corpora[number // SHARDS_A_CORPUS], f"{number % SHARDS_A_CORPUS:05d}.jsonl")
        self.bare = folder / "bare"
        self.bare.mkdir()
        (self.bare / "Snakefile").symlink_to(ROOT / "benchmarks" / "bare.smk")
        for part in ("profiles", "results"):
            (self.bare / part).symlink_to(folder.absolute() / part)
        with writing_indexed(folder / recorder.PAIR, np.dtype(np.uint16)) as writer:
            writer.add_documents(np.ones(recorder.TOKENS, np.uint16), np.full(1, recorder.TOKENS))

    def _link_programs(self) -> None:
        scripts = self.folder / "scripts"
        scripts.mkdir()
        (scripts / "pretrain_llama").symlink_to(ROOT / "scripts" / "pretrain_llama")
        for program in REAL_PROGRAMS:
            (scripts / f"{program}.py").symlink_to(ROOT / "scripts" / f"{program}.py")
        for program in recorder.PROGRAMS:
            (scripts / f"{program}.py").symlink_to(recorder.__file__)

    def _configure(self) -> None:
        config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        (name, tokenizer), *_ = config["tokenizers"].items()
        chosen = tokenizer | {"model": str(ROOT / tokenizer["model"]), "held_out_fraction": config["held_out_fraction"]}
        self.tokenizer = Tokenizer(name, **chosen).identity
        config |= {"shard_size_bytes": FILE_BYTES, "runs": ["demo"]}
        (self.folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
        shutil.copytree(ROOT / "config" / "runs" / "demo", self.folder / "config" / "runs" / "demo")
        write_json(
            self.folder / "config/runs/demo/data_ratio.json", {corpus.split("_")[1]: 1 for corpus in self.corpora}
        )
        write_json(self.folder / "config/runs/demo/lang_prob.json", {"en": 1})
        with open(self.folder / "config" / "corpora.tsv", "w", newline="") as file:
            table = csv.writer(file, delimiter="\t")
            table.writerow(COLUMNS)
            table.writerows([*corpus.split("_"), f"vendor/{corpus}/*.jsonl", "text"] for corpus in self.corpora)

    def deliver(self, corpus: str, name: str) -> None:
        """Add a sparse vendor file of a shard's size, which begins as no other one does."""
        path = self.folder / "vendor" / corpus / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{corpus}/{name}")
        os.truncate(path, FILE_BYTES)

    def record_plans(self) -> None:
        """Record the plans, as a real run does before its first job."""
        for path, planned in self._plans().items():
            plan.record(path, planned)

    def _plans(self) -> dict[Path, plan.Plan]:
        with contextlib.chdir(self.folder):
            corpora = configuration.load_corpora("config/corpora.tsv")
            paths = [Path(f"results/plan/{corpus.name}.json").absolute() for corpus in corpora]
            return {p: plan.plan_corpus(c, plan.load(p, c), FILE_BYTES) for c, p in zip(corpora, paths, strict=True)}

    def merge_and_tokenize(self) -> None:
        """Write what copy_tokenizer, merge_shard and tokenize_shard would, in this process."""
        shards, tokenized = Path("results/shards"), Path("results/tokenized") / self.tokenizer
        tokenizer = Path("results/tokenizers") / self.tokenizer / "tokenizer.model"
        with contextlib.chdir(self.folder):
            for folder in (shards, tokenized, tokenizer.parent):
                folder.mkdir(parents=True)
            tokenizer.touch()
            for corpus in self.corpora:
                recorded = read_json(f"results/plan/{corpus}.json")
                for shard, planned in zip(plan.shard_names(recorded), recorded["shards"], strict=True):
                    recorder.write_merged(shard, planned, shards / f"{shard}.jsonl", shards / f"{shard}.receipt.json")
                    recorder.write_tokenized(shard, self.tokenizer, str(tokenized / f"{shard}{PREFIX_SUFFIX}"))

    def name_indexed(self) -> None:
        """Write what name_indexed would, in this process, of the shards in the signature."""
        with contextlib.chdir(self.folder):
            tokenized, indexed = Path("results/tokenized"), Path("results/indexed")
            (indexed / self.tokenizer).mkdir(parents=True)
            for name in read_json(tokenized / self.tokenizer / "data_signature.json"):
                prefix = f"{self.tokenizer}/{parse_counted(Path(name).name).shard}{PREFIX_SUFFIX}"
                recorder.write_pair(f"{tokenized}/{prefix}", f"{indexed}/{name.removesuffix('.bin')}")

    def list_for_bare(self) -> None:
        """Write the peer's lists, of the shards that are or would be planned."""
        plans = self._plans()
        shards = [shard for planned in plans.values() for shard in plan.shard_names(planned)]
        (self.bare / "shards.txt").write_text("\n".join(shards))
        (self.bare / "tokenizer.txt").write_text(self.tokenizer)
