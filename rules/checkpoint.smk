"""
Hugging Face checkpoints to Megatron's, and back.

REQUIRED INPUTS
    the Hugging Face folders of config/config.yaml
    results/runs/{run}/output/finished.json

OUTPUTS
    results/checkpoints/{checkpoint}_tp={tp}_pp={pp}/       release/, its tracker, config.json, conversion.json
    results/checkpoints/{checkpoint}_tp={tp}_pp={pp}.verification.json
    results/runs/{run}/huggingface/
    results/runs/{run}/sample.txt
"""


rule convert_checkpoint:
    input:
        config=lambda wildcards: f"{config['checkpoints'][wildcards.checkpoint]}/config.json",
    output:
        directory("results/checkpoints/{checkpoint}_tp={tp}_pp={pp}"),
    log:
        "results/logs/convert_checkpoint/{checkpoint}_tp={tp}_pp={pp}.log",
    benchmark:
        "results/benchmarks/convert_checkpoint/{checkpoint}_tp={tp}_pp={pp}.tsv"
    params:
        huggingface=subpath(input.config, parent=True),
    shell:
        "python scripts/convert_checkpoint.py"
        " --huggingface {params.huggingface:q}"
        " --tensor-parallel {wildcards.tp}"
        " --pipeline-parallel {wildcards.pp}"
        " --output {output:q}"
        " > {log:q} 2>&1"


rule verify_checkpoint:
    input:
        config=lambda wildcards: f"{config['checkpoints'][wildcards.checkpoint]}/config.json",
        checkpoint="results/checkpoints/{checkpoint}_tp={tp}_pp={pp}",
    output:
        "results/checkpoints/{checkpoint}_tp={tp}_pp={pp}.verification.json",
    log:
        "results/logs/verify_checkpoint/{checkpoint}_tp={tp}_pp={pp}.log",
    benchmark:
        "results/benchmarks/verify_checkpoint/{checkpoint}_tp={tp}_pp={pp}.tsv"
    params:
        huggingface=subpath(input.config, parent=True),
    shell:
        "python scripts/verify_checkpoint.py"
        " --huggingface {params.huggingface:q}"
        " --checkpoint {input.checkpoint:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"


rule export_checkpoint:
    input:
        "results/runs/{run}/output/finished.json",
    output:
        directory("results/runs/{run}/huggingface"),
    log:
        "results/logs/export_checkpoint/{run}.log",
    benchmark:
        "results/benchmarks/export_checkpoint/{run}.tsv"
    params:
        folder="results/runs/{run}",
    shell:
        "python scripts/export_checkpoint.py" " --run-folder {params.folder:q}" " --output {output:q}" " > {log:q} 2>&1"


rule sample_text:
    input:
        model="results/runs/{run}/huggingface",
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
        "python scripts/sample_text.py"
        " --model {input.model:q}"
        " --run {params.run:q}"
        " --output {output:q}"
        " > {log:q} 2>&1"
