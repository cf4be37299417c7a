"""
Counted shards and a person's choices to selection probabilities.

REQUIRED INPUTS
    results/tokenized/{tokenizer}/data_signature.json, conservation.json
    config/runs/{run}/data_ratio.json, lang_prob.json, exclude_iterator.json

OUTPUTS
    results/runs/{run}/mixture/data_path.sh           Megatron-LM's --data-path
    results/runs/{run}/mixture/probabilities.json, .csv
    results/runs/{run}/mixture/mixture.png
"""


localrules:
    compute_probabilities,
    plot_mixture,


rule compute_probabilities:
    input:
        signature=lambda wildcards: f"results/tokenized/{run_tokenizer(wildcards.run)}/data_signature.json",
        conservation=lambda wildcards: f"results/tokenized/{run_tokenizer(wildcards.run)}/conservation.json",
        data_ratio="config/runs/{run}/data_ratio.json",
        language_probability="config/runs/{run}/lang_prob.json",
        exclude="config/runs/{run}/exclude_iterator.json",
    output:
        data_path="results/runs/{run}/mixture/data_path.sh",
        json="results/runs/{run}/mixture/probabilities.json",
        csv="results/runs/{run}/mixture/probabilities.csv",
    log:
        "results/logs/compute_probabilities/{run}.log",
    benchmark:
        "results/benchmarks/compute_probabilities/{run}.tsv"
    params:
        training_tokens=lambda wildcards: training_tokens(wildcards.run),
        omissions=lambda wildcards: RUNS[wildcards.run]["omissions"],
        folder=subpath(output.json, parent=True),
    shell:
        "python scripts/compute_probabilities.py"
        " --signature {input.signature:q}"
        " --data-ratio {input.data_ratio:q}"
        " --language-probability {input.language_probability:q}"
        " --exclude {input.exclude:q}"
        " --training-tokens {params.training_tokens}"
        " --omissions {params.omissions}"
        " --output-folder {params.folder:q}"
        " > {log:q} 2>&1"


rule plot_mixture:
    input:
        "results/runs/{run}/mixture/probabilities.csv",
    output:
        report("results/runs/{run}/mixture/mixture.png", category="Mixture", labels={"run": "{run}"}),
    log:
        "results/logs/plot_mixture/{run}.log",
    benchmark:
        "results/benchmarks/plot_mixture/{run}.tsv"
    shell:
        "python scripts/plot_mixture.py" " --probabilities {input:q}" " --output {output:q}" " 2> {log:q}"
