"""
Merge vendor files into even jsonl shards.

REQUIRED INPUTS
    the vendor's files, which config/corpora.tsv names; they stand in the plan, and are never Snakemake inputs
    results/plan/{corpus}.json, recorded before the first job

OUTPUTS
    results/shards/{shard}.jsonl            the lines of its ranges of vendor files, as they are
    results/shards/{shard}.receipt.json     its ranges, lines, bytes and hash
"""


rule merge_shard:
    output:
        jsonl="results/shards/{shard}.jsonl",
        receipt="results/shards/{shard}.receipt.json",
    log:
        "results/logs/merge_shard/{shard}.log",
    benchmark:
        "results/benchmarks/merge_shard/{shard}.tsv"
    params:
        plan=lambda wildcards: PROJECT.plan_location(corpus_of(wildcards.shard)),
        store=lambda wildcards: stored(f"results/shards/{wildcards.shard}.jsonl"),
    shell:
        "python {SCRIPTS:q}/merge_shard.py"
        " --plan {params.plan:q}"
        " --shard {wildcards.shard:q}"
        " --output {output.jsonl:q}"
        " --store={params.store:q}"
        " --receipt {output.receipt:q}"
        " 2> {log:q}"
