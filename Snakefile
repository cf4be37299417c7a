# Vendor text shards to a continued pretraining of Llama: what runs, in running order.
from snakemake.utils import min_version

min_version("9.27")


include: "rules/sources.smk"
include: "rules/config.smk"


configfile: "config/config.yaml"


report: "docs/report.rst"


include: "rules/common.smk"
include: "rules/shards.smk"
include: "rules/tokenize.smk"
include: "rules/duplicates.smk"
include: "rules/validation.smk"
include: "rules/mixture.smk"
include: "rules/vocabulary.smk"
include: "rules/checkpoint.smk"
include: "rules/training.smk"
include: "rules/targets.smk"
include: "rules/module.smk"


rule all:
    default_target: True
    input:
        all_targets(),


include: "rules/screen.smk"
