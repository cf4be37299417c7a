"""
Convert Hugging Face checkpoints to Megatron's, and export them back.

REQUIRED INPUTS
    the folders of checkpoints in config/config.yaml
    results/tokenizers/{tokenizer}/tokenizer.model or tokenizer.json
    results/runs/{run}/output/checkpoints/

OUTPUTS
    results/checkpoints/{checkpoint}_tp={tp}_pp={pp}/       release/, its tracker, config.json, conversion.json
    results/checkpoints/{checkpoint}_tp={tp}_pp={pp}.verification.json
    results/tokenizers/{tokenizer}/export/                  the tokenizer as transformers reads it, and how its ids compare
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


def accepted_options(checkpoint):
    """Megatron-LM's arguments of a delivered checkpoint that the person takes the responsibility for."""
    names = config["conversion"]["accept_arguments"].get(checkpoint, [])
    return [word for name in names for word in ("--accept-argument", name)]


def exported_checkpoint(run, iteration):
    """The file whose presence shows that a checkpoint of a run is whole."""
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
        # Follows the input, so that no checkpoint is converted again that was converted without it.
        accepted=lambda wildcards, input: accepted_options(wildcards.checkpoint),
    shell:
        "python {SCRIPTS:q}/convert_checkpoint.py"
        " --source {params.source:q}"
        " --tensor-parallel {wildcards.tp}"
        " --pipeline-parallel {wildcards.pp}"
        " --vocab-multiple {params.vocab_multiple}"
        " --padding-rows {params.padding_rows}"
        " {params.accepted:q}"
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


# Runs before a training, to find then what an export of it could not hold. It prints nothing where all is well.
rule export_tokenizer:
    input:
        ancient(lambda wildcards: tokenizer_path(wildcards.tokenizer)),
    output:
        directory("results/tokenizers/{tokenizer}/export"),
    log:
        "results/logs/export_tokenizer/{tokenizer}.log",
    benchmark:
        "results/benchmarks/export_tokenizer/{tokenizer}.tsv"
    threads: 2
    params:
        prepend_bos=lambda wildcards: tokenizer_of(wildcards.tokenizer).prepend_bos,
        append_eos=lambda wildcards: tokenizer_of(wildcards.tokenizer).append_eos,
        bos_token=lambda wildcards: tokenizer_of(wildcards.tokenizer).bos_token or "",
        eos_token=lambda wildcards: tokenizer_of(wildcards.tokenizer).eos_token or "",
    shell:
        "python {SCRIPTS:q}/export_tokenizer.py"
        " --tokenizer-model {input:q}"
        " --prepend-bos {params.prepend_bos}"
        " --append-eos {params.append_eos}"
        " --bos-token={params.bos_token:q}"
        " --eos-token={params.eos_token:q}"
        " --threads {threads}"
        " --output {output:q}"
        " 2>&1 | tee {log:q}"


# Exports any iteration whose checkpoint is there, also during the training.
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
        " 2> {log:q} | tee -a {log:q}"


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
