"""
Find documents of equal text, and decide which of them are left out.

REQUIRED INPUTS
    results/tokenized/{tokenizer}/{shard}_text_document.receipt.json, .keys

OUTPUTS
    results/tokenized/{tokenizer}/{shard}_text_document.keys, {shard}_held_out_document.keys    where they are missing
    results/tokenized/{tokenizer}/duplicates.json
    results/tokenized/{tokenizer}/dropped.json, {shard}_text_document.dropped                   what is decided, and stays
"""

from pretrain_llama.tokenization.keys import KEYS_SUFFIX, keyed_pairs

DROPS = config["duplicate_documents"] == "drop"


@cache
def keyed(identity):
    """The prefixes of a tokenizer's pairs that had keys before this run: one listing for all."""
    return frozenset(keyed_pairs(location(f"results/tokenized/{identity}")))


def missing_keys(identity):
    """The keys of shards that were finished without them. The others are tokenized in this run, with keys."""
    finished = finished_receipts(identity)
    prefixes = [
        receipt.removesuffix(".receipt.json") for receipt in tokenized(identity) if location(receipt) in finished
    ]
    return [f"{prefix}{KEYS_SUFFIX}" for prefix in prefixes if location(prefix) not in keyed(identity)]


def all_keys_missing(wildcards):
    return [path for identity in PROJECT.identities.values() for path in missing_keys(identity)]


def compared(wildcards):
    """What is compared: before the signature, which leaves copies out, where they are dropped, and after it otherwise."""
    identity = wildcards.tokenizer
    if DROPS:
        return tokenized(identity) + missing_keys(identity)
    return [f"results/tokenized/{identity}/data_signature.json"]


def dropped_copies(wildcards):
    """What is dropped of a tokenizer's shards; none where copies are only counted."""
    return [f"results/tokenized/{wildcards.tokenizer}/duplicates.json"] if DROPS else []


def found_copies(wildcards):
    """What is known of copies; nothing where nobody asks, or where all was made by a version that wrote no keys."""
    identity = wildcards.tokenizer
    path = [f"results/tokenized/{identity}/duplicates.json"]
    if config["duplicate_documents"] == "off":
        return []
    if DROPS or keyed(identity):
        return path
    return [] if all(location(receipt) in finished_receipts(identity) for receipt in tokenized(identity)) else path


# For pairs of earlier versions. Its text is no input: merged again, it would be newer than what was tokenized from it.
rule key_documents:
    input:
        receipt=ancient("results/tokenized/{tokenizer}/{shard}_text_document.receipt.json"),
        tokenizer=ancient(lambda wildcards: tokenizer_path(wildcards.tokenizer)),
    output:
        trained="results/tokenized/{tokenizer}/{shard}_text_document.keys",
        held_out="results/tokenized/{tokenizer}/{shard}_held_out_document.keys",
    log:
        "results/logs/key_documents/{tokenizer}/{shard}.log",
    benchmark:
        "results/benchmarks/key_documents/{tokenizer}/{shard}.tsv"
    params:
        plan=lambda wildcards: PROJECT.plan_location(corpus_of(wildcards.shard)),
        jsonl=lambda wildcards: location(f"results/shards/{wildcards.shard}.jsonl"),
        text_key=lambda wildcards: PROJECT.text_keys[corpus_of(wildcards.shard)],
        bos_token=lambda wildcards: tokenizer_of(wildcards.tokenizer).bos_token or "",
        eos_token=lambda wildcards: tokenizer_of(wildcards.tokenizer).eos_token or "",
        prefix=subpath(output.trained, strip_suffix=".keys"),
    shell:
        "python {SCRIPTS:q}/key_documents.py"
        " --receipt {input.receipt:q}"
        " --jsonl {params.jsonl:q}"
        " --plan {params.plan:q}"
        " --text-key={params.text_key:q}"
        " --tokenizer-model {input.tokenizer:q}"
        " --bos-token={params.bos_token:q}"
        " --eos-token={params.eos_token:q}"
        " --max-line-bytes {config[max_line_bytes]}"
        " --held-out-fraction {config[held_out_fraction]}"
        " --withdrawals={config[withdrawals]}"
        " --output-prefix {params.prefix:q}"
        " 2> {log:q}"


# Pairs and keys exist once the receipts do. They are read where they lie, so that a store's are not fetched as files.
rule find_duplicates:
    input:
        compared,
        tokenizer=ancient(lambda wildcards: tokenizer_path(wildcards.tokenizer)),
    output:
        "results/tokenized/{tokenizer}/duplicates.json",
    log:
        "results/logs/find_duplicates/{tokenizer}.log",
    benchmark:
        "results/benchmarks/find_duplicates/{tokenizer}.tsv"
    threads: 2
    params:
        plans=plan_locations(),
        tokenized=lambda wildcards: location(f"results/tokenized/{wildcards.tokenizer}"),
        duplicates="drop" if DROPS else "count",
        bos_token=lambda wildcards: tokenizer_of(wildcards.tokenizer).bos_token or "",
        eos_token=lambda wildcards: tokenizer_of(wildcards.tokenizer).eos_token or "",
    shell:
        "python {SCRIPTS:q}/find_duplicates.py"
        " --plans {params.plans:q}"
        " --tokenized {params.tokenized:q}"
        " --duplicates {params.duplicates}"
        " --memory-bytes {config[duplicates_memory_bytes]}"
        " --threads {threads}"
        " --tokenizer-model {input.tokenizer:q}"
        " --bos-token={params.bos_token:q}"
        " --eos-token={params.eos_token:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"


# `snakemake keys`: of all tokenizers, for shards of earlier versions.
rule keys:
    input:
        all_keys_missing,
