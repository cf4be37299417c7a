"""
Hugging Face checkpoints to Megatron's, and back.

REQUIRED INPUTS
    the folders of checkpoints in config/config.yaml
    results/runs/{run}/output/checkpoints/

OUTPUTS
    results/checkpoints/{checkpoint}_tp={tp}_pp={pp}/       release/, its tracker, config.json, conversion.json
    results/checkpoints/{checkpoint}_tp={tp}_pp={pp}.verification.json
    results/runs/{run}/export/{iteration}/                  a Hugging Face folder of any iteration, or of the final one
    results/runs/{run}/sample.txt
"""

from pretrain_llama.checkpoints.torch_dist import iteration_folder


def checkpoint_config(name):
    """The config.json of a checkpoint that is converted, delivered or expanded."""
    if name in config["checkpoints"]:
        return f"{config['checkpoints'][name]}/config.json"
    delivered, *identity = name.rsplit(".", 2)
    return f"results/expansions/{'.'.join(identity)}/{delivered}/config.json"


def exported_checkpoint(run, iteration):
    """What says that a checkpoint of a run is whole."""
    if iteration == "final":
        return f"results/runs/{run}/output/finished.json"
    return f"{iteration_folder(f'results/runs/{run}/output/checkpoints', int(iteration))}/metadata.json"


rule convert_checkpoint:
    input:
        config=lambda wildcards: checkpoint_config(wildcards.checkpoint),
    output:
        directory("results/checkpoints/{checkpoint}_tp={tp}_pp={pp}"),
    log:
        "results/logs/convert_checkpoint/{checkpoint}_tp={tp}_pp={pp}.log",
    benchmark:
        "results/benchmarks/convert_checkpoint/{checkpoint}_tp={tp}_pp={pp}.tsv"
    params:
        source=subpath(input.config, parent=True),
        vocab_multiple=config["conversion"]["vocab_multiple"],
        padding_rows=config["conversion"]["padding_rows"],
    shell:
        "python {SCRIPTS:q}/convert_checkpoint.py"
        " --source {params.source:q}"
        " --tensor-parallel {wildcards.tp}"
        " --pipeline-parallel {wildcards.pp}"
        " --vocab-multiple {params.vocab_multiple}"
        " --padding-rows {params.padding_rows}"
        " --output {output:q}"
        " > {log:q} 2>&1"


rule verify_checkpoint:
    input:
        config=lambda wildcards: checkpoint_config(wildcards.checkpoint),
        checkpoint="results/checkpoints/{checkpoint}_tp={tp}_pp={pp}",
    output:
        "results/checkpoints/{checkpoint}_tp={tp}_pp={pp}.verification.json",
    log:
        "results/logs/verify_checkpoint/{checkpoint}_tp={tp}_pp={pp}.log",
    benchmark:
        "results/benchmarks/verify_checkpoint/{checkpoint}_tp={tp}_pp={pp}.tsv"
    threads: 2
    params:
        source=subpath(input.config, parent=True),
    shell:
        "python {SCRIPTS:q}/verify_checkpoint.py"
        " --source {params.source:q}"
        " --checkpoint {input.checkpoint:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"


# Any iteration while its checkpoint is there, also of a training that still runs.
rule export_checkpoint:
    input:
        lambda wildcards: exported_checkpoint(wildcards.run, wildcards.iteration),
    output:
        directory("results/runs/{run}/export/{iteration}"),
    log:
        "results/logs/export_checkpoint/{run}_{iteration}.log",
    benchmark:
        "results/benchmarks/export_checkpoint/{run}_{iteration}.tsv"
    params:
        folder="results/runs/{run}",
    shell:
        "python {SCRIPTS:q}/export_checkpoint.py"
        " --run-folder {params.folder:q}"
        " --iteration {wildcards.iteration}"
        " --output {output:q}"
        " > {log:q} 2>&1"


rule sample_text:
    input:
        model="results/runs/{run}/export/final",
        run="config/runs/{run}/run.yaml",
    output:
        "results/runs/{run}/sample.txt",
    log:
        "results/logs/sample_text/{run}.log",
    benchmark:
        "results/benchmarks/sample_text/{run}.tsv"
    params:
        run=subpath(input.run, parent=True),
    shell:
        "python {SCRIPTS:q}/sample_text.py"
        " --model {input.model:q}"
        " --run {params.run:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"
