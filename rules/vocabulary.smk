"""
Enlarge vocabularies: tokenizers with new pieces, and checkpoints with rows for them.

REQUIRED INPUTS
    the first shard of each corpus, results/shards/{shard}.jsonl
    results/tokenizers/{tokenizer}/tokenizer.model of the tokenizer that is enlarged
    results/expansions/{name}.json, recorded before the first job

OUTPUTS
    results/tokenizers/{expansion}/tokenizer.model
    results/expansions/{expansion}/pieces.tsv, fertility.json, fertility.csv, fertility.png
    results/expansions/{expansion}/{checkpoint}/            a Hugging Face folder
"""


localrules:
    plot_fertility,


# Its path has the form of a copied tokenizer's.
ruleorder: expand_vocabulary > copy_tokenizer


def expansion_of(identity):
    return PROJECT.expansions[identity.rpartition(".")[0]]


def expanded_shards(identity):
    return expand("results/shards/{shard}.jsonl", shard=expansion_of(identity).shards)


def fertility_plots(*identities):
    """The fertility plots of those tokenizers that are made here."""
    made = [expanded.identity for expanded in PROJECT.expansions.values() if expanded.identity in identities]
    return expand("results/expansions/{expansion}/fertility.png", expansion=made)


# The expansion's identity covers the shards and the tokenizer, so their modification times do not matter.
rule expand_vocabulary:
    input:
        tokenizer=ancient(
            lambda wildcards: f"results/tokenizers/{expansion_of(wildcards.expansion).of}/tokenizer.model"
        ),
        shards=ancient(lambda wildcards: expanded_shards(wildcards.expansion)),
    output:
        model="results/tokenizers/{expansion}/tokenizer.model",
        pieces="results/expansions/{expansion}/pieces.tsv",
        fertility="results/expansions/{expansion}/fertility.json",
        table="results/expansions/{expansion}/fertility.csv",
    log:
        "results/logs/expand_vocabulary/{expansion}.log",
    benchmark:
        "results/benchmarks/expand_vocabulary/{expansion}.tsv"
    threads: 2
    params:
        text_keys=lambda wildcards: [
            PROJECT.text_keys[corpus_of(shard)] for shard in expansion_of(wildcards.expansion).shards
        ],
        options=lambda wildcards: expansion_of(wildcards.expansion).options,
        fertility=subpath(output.fertility, strip_suffix=".json"),
    shell:
        "python {SCRIPTS:q}/expand_vocabulary.py"
        " --tokenizer-model {input.tokenizer:q}"
        " --shards {input.shards:q}"
        " --text-keys {params.text_keys:q}"
        " {params.options:q}"
        " --max-line-bytes {config[max_line_bytes]}"
        " --output {output.model:q}"
        " --pieces-output {output.pieces:q}"
        " --fertility {params.fertility:q}"
        " 2> {log:q}"


rule plot_fertility:
    input:
        "results/expansions/{expansion}/fertility.csv",
    output:
        report(
            "results/expansions/{expansion}/fertility.png",
            category="Vocabularies",
            labels={"expansion": "{expansion}"},
        ),
    log:
        "results/logs/plot_fertility/{expansion}.log",
    benchmark:
        "results/benchmarks/plot_fertility/{expansion}.tsv"
    shell:
        "python {SCRIPTS:q}/plot_fertility.py" " --fertility {input:q}" " --output {output:q}" " 2> {log:q}"


# The folder appears as a whole, so its config.json stands for it.
rule expand_checkpoint:
    input:
        config=lambda wildcards: checkpoint_config(wildcards.checkpoint),
        pieces="results/expansions/{expansion}/pieces.tsv",
        tokenizer="results/tokenizers/{expansion}/tokenizer.model",
    output:
        "results/expansions/{expansion}/{checkpoint}/config.json",
    log:
        "results/logs/expand_checkpoint/{expansion}/{checkpoint}.log",
    benchmark:
        "results/benchmarks/expand_checkpoint/{expansion}/{checkpoint}.tsv"
    params:
        source=subpath(input.config, parent=True),
        new_rows=lambda wildcards: expansion_of(wildcards.expansion).new_rows,
        accepted=lambda wildcards, input: accepted_options(wildcards.checkpoint),
        folder=subpath(output[0], parent=True),
    shell:
        "python {SCRIPTS:q}/expand_checkpoint.py"
        " --source {params.source:q}"
        " --pieces {input.pieces:q}"
        " --tokenizer-model {input.tokenizer:q}"
        " --new-rows {params.new_rows}"
        " {params.accepted:q}"
        " --output {params.folder:q}"
        " > {log:q} 2>&1"
