"""
Open the project, constrain the wildcards, and define the look-ups that the rules share.
"""

import atexit
import gc
from functools import cache
from pathlib import Path

from pretrain_llama import names
from pretrain_llama.mixture import choices, signature
from pretrain_llama.project import Project
from pretrain_llama.status.snakemake_log import failures, newest_run
from pretrain_llama.tokenization.certificate import ENGINES, FORMAT, Certificate, receipts_of

# The graph of thousands of shards is millions of objects that stay. Collecting garbage among them again and again, and
# once more at the very end, takes a quarter of a preview's time. So the collector waits for the first job, and skips
# them.
gc.disable()
atexit.register(gc.freeze)


STORE = workflow.storage_settings.default_storage_prefix if workflow.storage_settings.default_storage_provider else ""

with readable_errors():
    PROJECT = Project.open(config, STORE, workflow.is_main_process)

config = PROJECT.config
config["unchanged"] = PROJECT.promises  # for shells, where a change makes no shard anew
config["withdrawals"] = PROJECT.location("results/withdrawals.jsonl")
config["tokenized_store"] = PROJECT.location("results/tokenized") if STORE else ""
NONE = "(?!)"  # a constraint that no name meets


wildcard_constraints:
    shard=names.SHARD,
    tokenizer=names.TOKENIZER,
    dc=r"\d+",
    sc=r"\d+",
    tc=r"\d+",
    tokenizer_file=r"tokenizer\.(model|json)",
    language=names.LANGUAGE,
    domain=names.DOMAIN,
    run=r"[A-Za-z0-9._-]+",
    checkpoint=r"[A-Za-z0-9.-]+",
    tp=r"\d+",
    pp=r"\d+",
    iteration=r"final|\d+",
    expansion="({})".format("|".join(PROJECT.expansions) or NONE) + names.HASH,


def location(path):
    """The location of a path of the rules, below the profile's store or here, for what Snakemake does not fetch."""
    return PROJECT.location(path)


def stored(path):
    """The location of an output that is made inside the store, past the nodes; empty without a store."""
    return location(path) if STORE else ""


def plan_locations():
    return [PROJECT.plan_location(corpus) for corpus in PROJECT.plans]


def corpus_of(shard):
    return names.parse_shard(shard).corpus


def run_tokenizer(run):
    return PROJECT.run_tokenizer(run)


def added(path, is_there, rule, output, is_finished):
    """An input that earlier versions' rule did not have: none for an output that they finished, unless that is forced.

    Snakemake makes an output again that has an input more than was recorded, or lacks one that has to be made. The
    caller tells whether the two are there: Snakemake's exists() cannot ask a store from here.
    """
    forced = {rule, output} & set(map(str, workflow.dag_settings.forcerun))
    if not workflow.is_main_process or not is_finished or forced:
        return path
    recorded = workflow.persistence._read_record(location(output))
    if recorded is None:
        return path if is_there else []
    return path if location(path) in recorded.input else []


def choice(name):
    """Return an input function that finds one of a run's choices, in JSON or YAML."""
    return lambda wildcards: str(choices.find(f"config/runs/{wildcards.run}", name))
