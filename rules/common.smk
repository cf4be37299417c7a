"""
The configuration, validated; the plan of the shards; the look-ups that the rules share.
"""

import atexit
import gc
import os
from pathlib import Path

from pretrain_llama import configuration, names
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.doctor.variables import require
from pretrain_llama.errors import ConfigError
from pretrain_llama.launch.claim import claim
from pretrain_llama.launch.layout import check_launch
from pretrain_llama.mixture import choices, signature
from pretrain_llama.shards import cost, listing, plan
from pretrain_llama.status.snakemake_log import failures, newest_run
from pretrain_llama.tokenization.tokenizer import Tokenizer
from pretrain_llama.training.sizes import check_sizes
from pretrain_llama.vocabulary import expansion

# The graph of thousands of shards is millions of objects that stay. Looking for garbage in them again and again, and once
# more at the very end, takes a quarter of the time of a preview: so it waits for the first job, and leaves them out.
gc.disable()
atexit.register(gc.freeze)


STORE = workflow.storage_settings.default_storage_prefix if workflow.storage_settings.default_storage_provider else ""


# A node of a store has none of the user's models and checkpoints: its jobs are known by their wildcards alone.
HAS_INPUTS = workflow.is_main_process or not STORE


def place(path):
    """Where a path of the rules lies: below the profile's store, or here. What Snakemake does not fetch is read there."""
    return f"{STORE}/{path}" if STORE else path


def stored(path):
    """Where an output is made that never passes through a node; empty where there is no store."""
    return place(path) if STORE else ""


def plan_path(corpus):
    return place(f"results/plan/{corpus}.json")


def plan_corpus(corpus):
    """Only the process that the user started lists the vendor's files; other jobs read the recorded plan.

    Those on nodes of a store leave it to their programs, which read the plan of their own corpus.
    """
    if not HAS_INPUTS:
        return plan.empty(corpus)
    if not workflow.is_main_process:
        return plan.load(plan_path(corpus.name), corpus)
    if "listing" in config:
        files = listing.matching(LISTED, corpus.source, corpus.place)
        return plan.extend(plan.empty(corpus), files, corpus, config["shard_size_bytes"], listed_bytes)
    return plan.plan_corpus(corpus, plan_path(corpus.name), config["shard_size_bytes"])


def listed_bytes(file, _text_key):
    return cost.jsonl_bytes(file, config["estimate"]["ratios"])


def expansion_path(name):
    return place(f"results/expansions/{name}.json")


def plan_expansion(name, settings):
    """As with the plan of a corpus: jobs on nodes read what is recorded."""
    expansion.check(name, settings, PLAIN_TOKENIZERS, CORPORA)
    base = PLAIN_TOKENIZERS[settings["tokenizer"]]
    if workflow.is_main_process:
        record = expansion.plan_expansion(name, settings, base, PLANS, expansion_path(name))
    else:
        record = expansion.load(expansion_path(name))
    return expansion.ExpandedTokenizer(name, base, record, settings["new_rows"])


def load_run(run):
    folder = f"config/runs/{run}"
    chosen = configuration.load_run(folder)
    for kind, known in [("tokenizer", TOKENIZERS), ("checkpoint", config["checkpoints"])]:
        configuration.check_choice(chosen[kind], known, kind, f"{folder}/run.yaml: {kind}")
    architecture = read_architecture(config["checkpoints"][chosen["checkpoint"]])
    tokenizer = TOKENIZERS[chosen["tokenizer"]]
    if chosen["tokenizer"] in EXPANSIONS:
        architecture = expansion.expanded(architecture, tokenizer, f"{folder}/run.yaml")
    check_sizes(chosen, architecture, tokenizer.vocab_size, f"{folder}/run.yaml")
    check_launch(chosen, f"{folder}/run.yaml")
    if workflow.is_main_process:
        plain = tokenizer.base if chosen["tokenizer"] in EXPANSIONS else tokenizer
        plain.check_against_checkpoint(config["checkpoints"][chosen["checkpoint"]], f"{folder}/run.yaml")
    choices.check_against_corpora(folder, CORPORA, SHARDS, chosen["mixture"])
    return chosen


with readable_errors():
    config = configuration.validate(config, "config", "config/config.yaml")
    if STORE and workflow.is_main_process:
        require(os.environ)
    CORPORA = configuration.load_corpora(config["corpora"])
    LISTED = listing.read(config["listing"]) if "listing" in config else []
    PLANS = {corpus.name: plan_corpus(corpus) for corpus in CORPORA}
    plan.check_apart(PLANS, CORPORA)
    SHARDS = [shard for planned in PLANS.values() for shard in plan.shard_names(planned)]
    held_out = config["held_out_fraction"]
    PLAIN_TOKENIZERS = {
        name: Tokenizer(name, held_out_fraction=held_out, **chosen) for name, chosen in config["tokenizers"].items()
    }
    EXPANSIONS = {name: plan_expansion(name, settings) for name, settings in config["expansions"].items()}
    TOKENIZERS = PLAIN_TOKENIZERS | EXPANSIONS
    IDENTITIES = {name: t.identity for name, t in TOKENIZERS.items()} if HAS_INPUTS else {}
    if workflow.is_main_process:
        for tokenizer in PLAIN_TOKENIZERS.values():
            tokenizer.check_frame()
    RUNS = {run: load_run(run) for run in configuration.find_runs(config["runs"], "config/runs")} if HAS_INPUTS else {}
NONE = "(?!)"  # a constraint that no name meets
TEXT_KEYS = {corpus.name: corpus.text_key for corpus in CORPORA}


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
    expansion="({})".format("|".join(EXPANSIONS) or NONE) + names.HASH,


def corpus_of(shard):
    return names.parse_shard(shard).corpus


def run_tokenizer(run):
    return IDENTITIES[RUNS[run]["tokenizer"]]


def choice(name):
    """An input: one of a run's choices, in JSON or YAML."""
    return lambda wildcards: str(choices.find(f"config/runs/{wildcards.run}", name))
