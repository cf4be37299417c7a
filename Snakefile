# Vendor text shards to a continued pretraining of Llama: what runs, in running order.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "docs/report.rst"


include: "rules/common.smk"
include: "rules/shards.smk"
include: "rules/tokenize.smk"
include: "rules/validation.smk"
include: "rules/mixture.smk"
include: "rules/vocabulary.smk"
include: "rules/checkpoint.smk"
include: "rules/training.smk"


rule all:
    default_target: True
    input:
        tokenized(*map(run_tokenizer, RUNS)),
        expand("results/runs/{run}/summary.txt", run=RUNS),
        expand("results/runs/{run}/mixture.html", run=RUNS),
        expand("results/runs/{run}/training.html", run=RUNS),
        documents_pages(*map(run_tokenizer, RUNS)),
        fertility_plots(*map(run_tokenizer, RUNS)),


# Named targets: `snakemake data` stops at the counted shards, signed and checked, `snakemake mixture` at the
# probabilities, looked at and checked.
rule data:
    input:
        tokenized(*IDENTITIES.values()),
        lambda wildcards: counted_files(*IDENTITIES.values()),
        expand("results/tokenized/{tokenizer}/conservation.json", tokenizer=IDENTITIES.values()),
        documents_pages(*IDENTITIES.values()),
        [validation_sets(identity) + held_out_check(identity) for identity in IDENTITIES.values()],
        fertility_plots(*IDENTITIES.values()),


rule mixture:
    input:
        tokenized(*map(run_tokenizer, RUNS)),
        expand("results/runs/{run}/mixture.html", run=RUNS),
        mixture_checks(*RUNS),


onstart:
    begin_run()


onsuccess:
    print_summaries()
