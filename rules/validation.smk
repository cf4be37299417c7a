"""
Join documents that are held out of training into validation sets.

REQUIRED INPUTS
    results/tokenized/{tokenizer}/data_signature.json
    results/tokenized/{tokenizer}/{shard}_held_out_document.bin, .idx
    results/indexed/{tokenizer}/, to compare with

OUTPUTS
    results/validation/{tokenizer}/{language}_{domain}.bin, .idx    what is held out of their shards
    results/validation/{tokenizer}/check_held_out.txt               no document is on both sides
"""

# Held-out documents are no small part of the data. With a store they are not on this machine, so a node joins them.
if not STORE:

    localrules:
        join_held_out,


def domains():
    """Languages and domains, in the order of the table."""
    return list(dict.fromkeys((corpus.language, corpus.domain) for corpus in PROJECT.corpora))


def validation_sets(identity):
    """Both files of each validation set; none where nothing is held out."""
    if not config["held_out_fraction"]:
        return []
    prefixes = [f"results/validation/{identity}/{language}_{domain}" for language, domain in domains()]
    return [f"{prefix}{suffix}" for prefix in prefixes for suffix in (".bin", ".idx")]


def held_out_check(identity):
    """The file that says that no document is on both sides; none where nothing is held out.

    There is none on a store either, which would have to send all pairs again. docs/azure.md says who checks.
    """
    if STORE or not config["held_out_fraction"]:
        return []
    return [f"results/validation/{identity}/check_held_out.txt"]


# Held-out pairs exist once the signature does; listing them would add thousands of inputs.
rule join_held_out:
    input:
        "results/tokenized/{tokenizer}/data_signature.json",
    output:
        bin="results/validation/{tokenizer}/{language}_{domain}.bin",
        idx="results/validation/{tokenizer}/{language}_{domain}.idx",
    log:
        "results/logs/join_held_out/{tokenizer}/{language}_{domain}.log",
    benchmark:
        "results/benchmarks/join_held_out/{tokenizer}/{language}_{domain}.tsv"
    params:
        tokenized=lambda wildcards: location(f"results/tokenized/{wildcards.tokenizer}"),
        prefix=subpath(output.bin, strip_suffix=".bin"),
    shell:
        "python {SCRIPTS:q}/join_held_out.py"
        " --signature {input:q}"
        " --tokenized {params.tokenized:q}"
        " --language {wildcards.language:q}"
        " --domain {wildcards.domain:q}"
        " --output-prefix {params.prefix:q}"
        " 2> {log:q}"


rule check_held_out:
    input:
        lambda wildcards: validation_sets(wildcards.tokenizer),
        lambda wildcards: counted_files(wildcards.tokenizer),
    output:
        "results/validation/{tokenizer}/check_held_out.txt",
    log:
        "results/logs/check_held_out/{tokenizer}.log",
    benchmark:
        "results/benchmarks/check_held_out/{tokenizer}.tsv"
    params:
        held_out=subpath(output[0], parent=True),
        trained="results/indexed/{tokenizer}",
    shell:
        "python {SCRIPTS:q}/check_held_out.py"
        " --held-out {params.held_out:q}"
        " --trained {params.trained:q}"
        " > {output:q} 2> {log:q}"
