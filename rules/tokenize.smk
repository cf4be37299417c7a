"""
Tokenize jsonl shards to Megatron .bin/.idx pairs; count and sign them.

REQUIRED INPUTS
    results/shards/{shard}.jsonl, .receipt.json
    the tokenizers of config/config.yaml

OUTPUTS
    results/tokenizers/{tokenizer}/tokenizer.model or tokenizer.json, parity.json
    results/tokenized/{tokenizer}/{shard}_text_document.bin, .idx, .receipt.json, .rejected.jsonl
    results/tokenized/{tokenizer}/{shard}_held_out_document.bin, .idx      for validation
    results/tokenized/{tokenizer}/{shard}_text_document.keys, {shard}_held_out_document.keys    unlisted: earlier shards lack them
    results/tokenized/{tokenizer}/data_signature.json, conservation.json, documents.html
    results/indexed/{tokenizer}/{shard}_text_document_dc={dc}_sc={sc}_tc={tc}.bin, .idx
"""


# These copy, link or read small files: on a cluster, they are not worth a queue.
localrules:
    copy_tokenizer,
    sign_data,
    check_conservation,
    plot_documents,
    name_indexed,


def tokenizer_of(identity):
    return PROJECT.tokenizers[identity.rpartition(".")[0]]


def tokenizer_path(identity):
    return f"results/tokenizers/{identity}/{tokenizer_of(identity).file_name}"


@cache
def finished_receipts(identity):
    """The receipts of a tokenizer's shards that were there before this run: one listing for all."""
    return frozenset(receipts_of(location(f"results/tokenized/{identity}")))


@cache
def has_certificate(identity):
    return Certificate.find(location(f"results/tokenizers/{identity}/parity.json")) is not None


def certificate(wildcards):
    """The tokenizer's certificate, but none for a shard that was finished without one."""
    identity = wildcards.tokenizer
    receipt = f"results/tokenized/{identity}/{wildcards.shard}_text_document.receipt.json"
    path, is_finished = f"results/tokenizers/{identity}/parity.json", location(receipt) in finished_receipts(identity)
    return added(path, has_certificate(identity), "tokenize_shard", receipt, is_finished)


def tokenized(*identities):
    """All planned shards of some tokenizers. Targets ask for each: an existing signature would hide missing ones."""
    return expand(
        "results/tokenized/{tokenizer}/{shard}_text_document.receipt.json", tokenizer=identities, shard=PROJECT.shards
    )


def counted_files(*identities):
    """All counted shards of some tokenizers: the signatures have to be there first."""
    paths = []
    for identity in identities:
        checkpoints.sign_data.get(tokenizer=identity)
        signed = signature.load(location(f"results/tokenized/{identity}/data_signature.json"))
        prefixes = [f"results/indexed/{identity}/{name}" for name in signed.shards]
        paths += [f"{prefix}{suffix}" for prefix in prefixes for suffix in (".bin", ".idx")]
    return paths


def documents_pages(*identities):
    """The pages on the documents of some tokenizers. They stay on the machine of the person who looks at them."""
    return [local(f"results/tokenized/{identity}/documents.html") for identity in identities]


def counted_name(wildcards):
    return "{shard}_text_document_dc={dc}_sc={sc}_tc={tc}".format(**wildcards)


rule copy_tokenizer:
    output:
        "results/tokenizers/{tokenizer}/{tokenizer_file}",
    log:
        "results/logs/copy_tokenizer/{tokenizer}/{tokenizer_file}.log",
    params:
        model=lambda wildcards: tokenizer_of(wildcards.tokenizer).model,
    shell:
        "cp {params.model:q} {output:q} 2> {log:q}"


# Runs once for a tokenizer, before its first shard, and again for other engines or a newer format. Shards stay.
rule certify_tokenizer:
    input:
        ancient(lambda wildcards: tokenizer_path(wildcards.tokenizer)),
    output:
        "results/tokenizers/{tokenizer}/parity.json",
    log:
        "results/logs/certify_tokenizer/{tokenizer}.log",
    benchmark:
        "results/benchmarks/certify_tokenizer/{tokenizer}.tsv"
    threads: 2
    params:
        bos_token=lambda wildcards: tokenizer_of(wildcards.tokenizer).bos_token or "",
        eos_token=lambda wildcards: tokenizer_of(wildcards.tokenizer).eos_token or "",
        tokenized=lambda wildcards: location(f"results/tokenized/{wildcards.tokenizer}"),
        engines=ENGINES,
        format=FORMAT,
    shell:
        "python {SCRIPTS:q}/certify_tokenizer.py"
        " --tokenizer {wildcards.tokenizer:q}"
        " --tokenizer-model {input:q}"
        " --bos-token={params.bos_token:q}"
        " --eos-token={params.eos_token:q}"
        " --tokenized {params.tokenized:q}"
        " --threads {threads}"
        " --output {output:q}"
        " > {log:q} 2>&1"


# The tokenizer's identity is in the path, so neither the time nor the location of its model matters. The program finds
# the certificate beside the model.
rule tokenize_shard:
    input:
        jsonl="results/shards/{shard}.jsonl",
        receipt="results/shards/{shard}.receipt.json",
        tokenizer=ancient(lambda wildcards: tokenizer_path(wildcards.tokenizer)),
        certificate=ancient(certificate),
    output:
        bin="results/tokenized/{tokenizer}/{shard}_text_document.bin",
        idx="results/tokenized/{tokenizer}/{shard}_text_document.idx",
        receipt="results/tokenized/{tokenizer}/{shard}_text_document.receipt.json",
        rejected="results/tokenized/{tokenizer}/{shard}_text_document.rejected.jsonl",
        held_out_bin="results/tokenized/{tokenizer}/{shard}_held_out_document.bin",
        held_out_idx="results/tokenized/{tokenizer}/{shard}_held_out_document.idx",
    log:
        "results/logs/tokenize_shard/{tokenizer}/{shard}.log",
    benchmark:
        "results/benchmarks/tokenize_shard/{tokenizer}/{shard}.tsv"
    threads: 2
    params:
        text_key=lambda wildcards: PROJECT.text_keys[corpus_of(wildcards.shard)],
        prepend_bos=lambda wildcards: tokenizer_of(wildcards.tokenizer).prepend_bos,
        append_eos=lambda wildcards: tokenizer_of(wildcards.tokenizer).append_eos,
        bos_token=lambda wildcards: tokenizer_of(wildcards.tokenizer).bos_token or "",
        eos_token=lambda wildcards: tokenizer_of(wildcards.tokenizer).eos_token or "",
        prefix=subpath(output.bin, strip_suffix=".bin"),
    shell:
        "python {SCRIPTS:q}/tokenize_shard.py"
        " --shard {wildcards.shard:q}"
        " --jsonl {input.jsonl:q}"
        " --merge-receipt {input.receipt:q}"
        " --text-key={params.text_key:q}"
        " --tokenizer {wildcards.tokenizer:q}"
        " --tokenizer-model {input.tokenizer:q}"
        " --prepend-bos {params.prepend_bos}"
        " --append-eos {params.append_eos}"
        " --bos-token={params.bos_token:q}"
        " --eos-token={params.eos_token:q}"
        " --max-rejected-fraction {config[max_rejected_fraction]}"
        " --max-rejected-lines {config[max_rejected_lines]}"
        " --max-rejected-bytes {config[max_rejected_bytes]}"
        " --max-line-bytes {config[max_line_bytes]}"
        " --held-out-fraction {config[held_out_fraction]}"
        " --on-engine-difference {config[on_engine_difference]}"
        " --unchanged {config[unchanged]}"
        " --store={config[tokenized_store]}"
        " --withdrawals={config[withdrawals]}"
        " --threads {threads}"
        " --output-prefix {params.prefix:q}"
        " 2> {log:q}"


# The only checkpoint: the counts that it signs become wildcards below.
checkpoint sign_data:
    input:
        lambda wildcards: tokenized(wildcards.tokenizer),
        duplicates=lambda wildcards: dropped_copies(wildcards),
    output:
        "results/tokenized/{tokenizer}/data_signature.json",
    log:
        "results/logs/sign_data/{tokenizer}.log",
    benchmark:
        "results/benchmarks/sign_data/{tokenizer}.tsv"
    params:
        plans=plan_locations(),
        folder=subpath(output[0], parent=True),
    shell:
        "python {SCRIPTS:q}/sign_data.py"
        " --plans {params.plans:q}"
        " --tokenized {params.folder:q}"
        " --duplicates {input.duplicates:q}"
        " --output {output:q}"
        " 2> {log:q}"


# On a node, Snakemake would evaluate everything upstream of a checkpoint, for the one job that it was sent. So
# sign_data is an ordinary rule there, and Snakemake looks at that job's files alone.
if not PROJECT.has_models:
    workflow.get_rule("sign_data").is_checkpoint = False


rule check_conservation:
    input:
        signature="results/tokenized/{tokenizer}/data_signature.json",
        duplicates=lambda wildcards: dropped_copies(wildcards),
    output:
        "results/tokenized/{tokenizer}/conservation.json",
    log:
        "results/logs/check_conservation/{tokenizer}.log",
    benchmark:
        "results/benchmarks/check_conservation/{tokenizer}.tsv"
    params:
        plans=plan_locations(),
        shards=location("results/shards"),
        tokenized=lambda wildcards: location(f"results/tokenized/{wildcards.tokenizer}"),
    shell:
        "python {SCRIPTS:q}/check_conservation.py"
        " --plans {params.plans:q}"
        " --shards {params.shards:q}"
        " --tokenized {params.tokenized:q}"
        " --signature {input.signature:q}"
        " --duplicates {input.duplicates:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"


rule plot_documents:
    input:
        "results/tokenized/{tokenizer}/conservation.json",
        duplicates=lambda wildcards: found_copies(wildcards),
    output:
        report(
            local("results/tokenized/{tokenizer}/documents.html"),
            category="Documents",
            labels={"tokenizer": "{tokenizer}"},
        ),
    log:
        "results/logs/plot_documents/{tokenizer}.log",
    benchmark:
        "results/benchmarks/plot_documents/{tokenizer}.tsv"
    params:
        plans=plan_locations(),
        tokenized=lambda wildcards: location(f"results/tokenized/{wildcards.tokenizer}"),
    shell:
        "python {SCRIPTS:q}/plot_documents.py"
        " --plans {params.plans:q}"
        " --tokenized {params.tokenized:q}"
        " --duplicates {input.duplicates:q}"
        " --output {output:q}"
        " 2> {log:q}"


# The pair exists once its receipt does. It is no input, because a store copies it without a node that fetches it.
rule name_indexed:
    input:
        "results/tokenized/{tokenizer}/{shard}_text_document.receipt.json",
    output:
        bin="results/indexed/{tokenizer}/{shard}_text_document_dc={dc}_sc={sc}_tc={tc}.bin",
        idx="results/indexed/{tokenizer}/{shard}_text_document_dc={dc}_sc={sc}_tc={tc}.idx",
    log:
        "results/logs/name_indexed/{tokenizer}/{shard}_dc={dc}_sc={sc}_tc={tc}.log",
    benchmark:
        "results/benchmarks/name_indexed/{tokenizer}/{shard}_dc={dc}_sc={sc}_tc={tc}.tsv"
    params:
        prefix=lambda wildcards: location(f"results/tokenized/{wildcards.tokenizer}/{wildcards.shard}_text_document"),
        output_prefix=subpath(output.bin, strip_suffix=".bin"),
        store=lambda wildcards: stored(f"results/indexed/{wildcards.tokenizer}/{counted_name(wildcards)}"),
    shell:
        "python {SCRIPTS:q}/name_indexed.py"
        " --prefix {params.prefix:q}"
        " --output-prefix {params.output_prefix:q}"
        " --store={params.store:q}"
        " 2> {log:q}"
