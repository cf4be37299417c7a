"""
The peer of the dry-runs: the shards' rules with their files and nothing else. No plan, no look-ups, no options.
"""

import json
from pathlib import Path

SHARDS = Path("shards.txt").read_text().split()
TOKENIZER = Path("tokenizer.txt").read_text()
PREFIX = "results/tokenized/{tokenizer}/{shard}_text_document"
HELD_OUT = "results/tokenized/{tokenizer}/{shard}_held_out_document"
COUNTED = "results/indexed/{tokenizer}/{shard}_text_document_dc={dc}_sc={sc}_tc={tc}"


wildcard_constraints:
    shard=r"[a-z0-9_]+_split_\d+",
    tokenizer=r"[A-Za-z0-9-]+\.[0-9a-f]{8}",
    dc=r"\d+",
    sc=r"\d+",
    tc=r"\d+",


def counted_files(wildcards):
    signed = checkpoints.sign_data.get(tokenizer=TOKENIZER).output[0]
    names = json.loads(Path(signed).read_text())
    return [f"results/indexed/{name.removesuffix('.bin')}{suffix}" for name in names for suffix in (".bin", ".idx")]


rule all:
    default_target: True
    input:
        "results/bare.json",
        expand(f"{PREFIX}.receipt.json", tokenizer=TOKENIZER, shard=SHARDS),


rule copy_tokenizer:
    output:
        "results/tokenizers/{tokenizer}/tokenizer.model",
    shell:
        "true"


rule merge_shard:
    output:
        jsonl="results/shards/{shard}.jsonl",
        receipt="results/shards/{shard}.receipt.json",
    log:
        "results/logs/merge_shard/{shard}.log",
    benchmark:
        "results/benchmarks/merge_shard/{shard}.tsv"
    shell:
        "true"


rule tokenize_shard:
    input:
        jsonl="results/shards/{shard}.jsonl",
        receipt="results/shards/{shard}.receipt.json",
        tokenizer=ancient("results/tokenizers/{tokenizer}/tokenizer.model"),
    output:
        bin=f"{PREFIX}.bin",
        idx=f"{PREFIX}.idx",
        receipt=f"{PREFIX}.receipt.json",
        rejected=f"{PREFIX}.rejected.jsonl",
        held_out_bin=f"{HELD_OUT}.bin",
        held_out_idx=f"{HELD_OUT}.idx",
    log:
        "results/logs/tokenize_shard/{tokenizer}/{shard}.log",
    benchmark:
        "results/benchmarks/tokenize_shard/{tokenizer}/{shard}.tsv"
    threads: 2
    shell:
        "true"


checkpoint sign_data:
    input:
        expand(f"{PREFIX}.receipt.json", shard=SHARDS, allow_missing=True),
    output:
        "results/tokenized/{tokenizer}/data_signature.json",
    log:
        "results/logs/sign_data/{tokenizer}.log",
    shell:
        "true"


rule name_indexed:
    input:
        bin=ancient(f"{PREFIX}.bin"),
        idx=ancient(f"{PREFIX}.idx"),
    output:
        bin=f"{COUNTED}.bin",
        idx=f"{COUNTED}.idx",
    log:
        "results/logs/name_indexed/{tokenizer}/{shard}_dc={dc}_sc={sc}_tc={tc}.log",
    benchmark:
        "results/benchmarks/name_indexed/{tokenizer}/{shard}_dc={dc}_sc={sc}_tc={tc}.tsv"
    shell:
        "true"


rule write_run_folder:
    input:
        counted_files,
        signature=f"results/tokenized/{TOKENIZER}/data_signature.json",
    output:
        "results/bare.json",
    shell:
        "true"
