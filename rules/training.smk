"""
Write run folders, train, and summarize the results.

REQUIRED INPUTS
    config/runs/{run}/run.yaml
    results/runs/{run}/mixture/probabilities.json, and the counted shards
    results/checkpoints/{checkpoint}_tp={tp}_pp={pp}, verified
    results/plan/{corpus}.json, recorded before the first job; the run folder keeps those of its corpora

OUTPUTS
    results/runs/{run}/check_change.txt         what changes under a training that has begun
    results/runs/{run}/manifest.json            the run folder is complete
    results/runs/{run}/output/finished.json     the training is complete; it resumes until then
    results/runs/{run}/summary.txt, summary.json, training.html
"""

import re


localrules:
    check_change,
    submit_training,
    summarize_run,
    plot_training,


ruleorder: submit_training > launch_training


SUBMITTED = [run for run, chosen in PROJECT.runs.items() if chosen["launch"]["launcher"] != "local"]


def run_checkpoint(run):
    """The folder of a run's converted checkpoint, whose vocabulary is padded for the run's tensor parallel size.

    An expanded one has the identity of its tokenizer in its name, behind a dot.
    """
    parallel, name = PROJECT.runs[run]["parallel"], PROJECT.runs[run]["checkpoint"]
    if PROJECT.runs[run]["tokenizer"] in PROJECT.expansions:
        name = f"{name}.{run_tokenizer(run)}"
    return f"results/checkpoints/{name}_tp={parallel['tensor']}_pp={parallel['pipeline']}"


def exported_tokenizer(wildcards):
    """The tokenizer's export, but none for the folder of a training that ended without one.

    With it, the folder would be written again, its training launched, and all made anew that follows.
    """
    path = f"results/tokenizers/{run_tokenizer(wildcards.run)}/export"
    manifest = f"results/runs/{wildcards.run}/manifest.json"
    has_ended = Path(manifest).exists() and Path(manifest).with_name("output").joinpath("finished.json").exists()
    return added(path, Path(path).exists(), "write_run_folder", manifest, has_ended)


# Runs before write_run_folder, for which Snakemake deletes the old manifest: a refusal here leaves the folder intact.
rule check_change:
    input:
        lambda wildcards: counted_files(run_tokenizer(wildcards.run)),
        run="config/runs/{run}/run.yaml",
        mixture="results/runs/{run}/mixture/probabilities.json",
        tokenizer=lambda wildcards: tokenizer_path(run_tokenizer(wildcards.run)),
        checkpoint=lambda wildcards: run_checkpoint(wildcards.run),
    output:
        "results/runs/{run}/check_change.txt",
    log:
        "results/logs/check_change/{run}.log",
    benchmark:
        "results/benchmarks/check_change/{run}.tsv"
    params:
        run=subpath(input.run, parent=True),
        indexed=lambda wildcards: f"results/indexed/{run_tokenizer(wildcards.run)}",
        tokenized=lambda wildcards: location(f"results/tokenized/{run_tokenizer(wildcards.run)}"),
        folder=subpath(output[0], parent=True),
    shell:
        "python {SCRIPTS:q}/check_change.py"
        " --run {params.run:q}"
        " --indexed {params.indexed:q}"
        " --tokenizer {input.tokenizer:q}"
        " --checkpoint {input.checkpoint:q}"
        " --tokenized {params.tokenized:q}"
        " --run-folder {params.folder:q}"
        " > {output:q} 2> {log:q}"


rule write_run_folder:
    input:
        lambda wildcards: counted_files(run_tokenizer(wildcards.run)),
        *map(choice, choices.FILES),
        run="config/runs/{run}/run.yaml",
        mixture="results/runs/{run}/mixture/probabilities.json",
        checked="results/runs/{run}/mixture/check_mixture.json",
        changes="results/runs/{run}/check_change.txt",
        validation=lambda wildcards: validation_sets(run_tokenizer(wildcards.run)),
        held_out=lambda wildcards: held_out_check(run_tokenizer(wildcards.run)),
        tokenizer=lambda wildcards: tokenizer_path(run_tokenizer(wildcards.run)),
        exported_tokenizer=exported_tokenizer,
        checkpoint=lambda wildcards: run_checkpoint(wildcards.run),
        verification=lambda wildcards: f"{run_checkpoint(wildcards.run)}.verification.json",
    output:
        "results/runs/{run}/manifest.json",
    log:
        "results/logs/write_run_folder/{run}.log",
    benchmark:
        "results/benchmarks/write_run_folder/{run}.tsv"
    params:
        run=subpath(input.run, parent=True),
        indexed=lambda wildcards: f"results/indexed/{run_tokenizer(wildcards.run)}",
        validation=lambda wildcards: f"results/validation/{run_tokenizer(wildcards.run)}",
        tokenized=lambda wildcards: location(f"results/tokenized/{run_tokenizer(wildcards.run)}"),
        plans=plan_locations(),
        sources=["config/config.yaml", config["corpora"], LOCK],
        folder=subpath(output[0], parent=True),
    shell:
        "python {SCRIPTS:q}/write_run_folder.py"
        " --run {params.run:q}"
        " --indexed {params.indexed:q}"
        " --validation {params.validation:q}"
        " --tokenizer {input.tokenizer:q}"
        " --exported-tokenizer {input.exported_tokenizer:q}"
        " --checkpoint {input.checkpoint:q}"
        " --tokenized {params.tokenized:q}"
        " --plans {params.plans:q}"
        " --sources {params.sources:q}"
        " --output {params.folder:q}"
        " > {log:q} 2>&1"


# The training resumes by itself. Only the marker of its end is an output, so that Snakemake never deletes a checkpoint.
rule launch_training:
    input:
        "results/runs/{run}/manifest.json",
    output:
        "results/runs/{run}/output/finished.json",
    log:
        "results/logs/launch_training/{run}.log",
    benchmark:
        "results/benchmarks/launch_training/{run}.tsv"
    threads: workflow.cores
    params:
        folder=subpath(input[0], parent=True),
    shell:
        "python {SCRIPTS:q}/launch_training.py {params.folder:q} 2>&1 | tee -i {log:q}"


# For runs that another launcher starts (launch.launcher): submits a job, and waits for it.
rule submit_training:
    input:
        "results/runs/{run}/manifest.json",
    output:
        "results/runs/{run}/output/finished.json",
    log:
        "results/logs/submit_training/{run}.log",
    benchmark:
        "results/benchmarks/submit_training/{run}.tsv"
    wildcard_constraints:
        run="|".join(map(re.escape, SUBMITTED)) or NONE,
    threads: 0
    params:
        folder=subpath(input[0], parent=True),
    shell:
        "python {SCRIPTS:q}/submit_training.py {params.folder:q} 2>&1 | tee {log:q}"


rule summarize_run:
    input:
        finished="results/runs/{run}/output/finished.json",
        conservation=lambda wildcards: f"results/tokenized/{run_tokenizer(wildcards.run)}/conservation.json",
        probabilities="results/runs/{run}/mixture/probabilities.json",
        sample="results/runs/{run}/sample.txt",
    output:
        text="results/runs/{run}/summary.txt",
        json="results/runs/{run}/summary.json",
    log:
        "results/logs/summarize_run/{run}.log",
    benchmark:
        "results/benchmarks/summarize_run/{run}.tsv"
    params:
        folder=subpath(output.json, parent=True),
    shell:
        "python {SCRIPTS:q}/summarize_run.py"
        " --conservation {input.conservation:q}"
        " --run-folder {params.folder:q}"
        " 2> {log:q}"


rule plot_training:
    input:
        "results/runs/{run}/summary.json",
    output:
        report(local("results/runs/{run}/training.html"), category="Training", labels={"run": "{run}"}),
    log:
        "results/logs/plot_training/{run}.log",
    benchmark:
        "results/benchmarks/plot_training/{run}.tsv"
    params:
        folder=subpath(input[0], parent=True),
    shell:
        "python {SCRIPTS:q}/plot_training.py" " --run-folder {params.folder:q}" " --output {output:q}" " 2> {log:q}"
