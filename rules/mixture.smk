"""
Compute selection probabilities from counted shards and a person's choices.

REQUIRED INPUTS
    results/tokenized/{tokenizer}/data_signature.json, conservation.json
    results/indexed/{tokenizer}/, to check the blend
    config/runs/{run}/run.yaml; data_ratio, lang_prob and exclude_iterator, .json or .yaml

OUTPUTS
    results/runs/{run}/mixture/iterator_prob.sh, data_path.txt, blend.json     for Megatron-LM
    results/runs/{run}/mixture/probabilities.json, mixture.csv
    results/runs/{run}/mixture/check_mixture.json     megatron-core builds this blend, with these counts
    results/runs/{run}/mixture.html                   to look at, before it is paid for
"""


localrules:
    compute_probabilities,
    plot_mixture,


def mixture_checks(*runs):
    """megatron-core's checks of some runs' mixtures; none on a store, where pairs never pass through a node."""
    return [] if STORE else expand("results/runs/{run}/mixture/check_mixture.json", run=runs)


rule compute_probabilities:
    input:
        signature=lambda wildcards: f"results/tokenized/{run_tokenizer(wildcards.run)}/data_signature.json",
        conservation=lambda wildcards: f"results/tokenized/{run_tokenizer(wildcards.run)}/conservation.json",
        data_ratio=local(choice("data_ratio")),
        language_probability=local(choice("lang_prob")),
        exclude=local(choice("exclude_iterator")),
        run=local("config/runs/{run}/run.yaml"),
    output:
        multiext("results/runs/{run}/mixture/", "iterator_prob.sh", "data_path.txt", "blend.json", "mixture.csv"),
        json="results/runs/{run}/mixture/probabilities.json",
    log:
        "results/logs/compute_probabilities/{run}.log",
    benchmark:
        "results/benchmarks/compute_probabilities/{run}.tsv"
    params:
        indexed=lambda wildcards: location(f"results/indexed/{run_tokenizer(wildcards.run)}"),
        folder=subpath(output.json, parent=True),
    shell:
        "python {SCRIPTS:q}/compute_probabilities.py"
        " --signature {input.signature:q}"
        " --data-ratio {input.data_ratio:q}"
        " --language-probability {input.language_probability:q}"
        " --exclude {input.exclude:q}"
        " --run-config {input.run:q}"
        " --bin-idx-path {params.indexed:q}"
        " --output-dir {params.folder:q}"
        " > {log:q} 2>&1"


rule plot_mixture:
    input:
        "results/runs/{run}/mixture/probabilities.json",
    output:
        report(local("results/runs/{run}/mixture.html"), category="Mixture", labels={"run": "{run}"}),
    log:
        "results/logs/plot_mixture/{run}.log",
    benchmark:
        "results/benchmarks/plot_mixture/{run}.tsv"
    shell:
        "python {SCRIPTS:q}/plot_mixture.py"
        " --mixture {input:q}"
        " --title {wildcards.run:q}"
        " --output {output:q}"
        " 2> {log:q}"


rule check_mixture:
    input:
        lambda wildcards: counted_files(run_tokenizer(wildcards.run)),
        mixture="results/runs/{run}/mixture/probabilities.json",
    output:
        "results/runs/{run}/mixture/check_mixture.json",
    log:
        "results/logs/check_mixture/{run}.log",
    benchmark:
        "results/benchmarks/check_mixture/{run}.tsv"
    params:
        indexed=lambda wildcards: f"results/indexed/{run_tokenizer(wildcards.run)}",
    shell:
        "python {SCRIPTS:q}/check_mixture.py"
        " --mixture {input.mixture:q}"
        " --indexed {params.indexed:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"
