"""
What is made: all that the runs need and became, or less of it by name; and how a run of Snakemake begins and ends.
"""

# What the report's first page shows; `make report` has just asked for it.
PENDING = Path("results/pending.txt")
config["pending"] = PENDING.read_text() if PENDING.exists() else ""


def run_pages(name):
    return [local(f"results/runs/{run}/{name}.html") for run in RUNS]


def all_targets():
    """What `rule all` of both Snakefiles asks for."""
    return [
        tokenized(*map(run_tokenizer, RUNS)),
        expand("results/runs/{run}/summary.txt", run=RUNS),
        run_pages("mixture"),
        run_pages("training"),
        documents_pages(*map(run_tokenizer, RUNS)),
        fertility_plots(*map(run_tokenizer, RUNS)),
    ]


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
        run_pages("mixture"),
        mixture_checks(*RUNS),


onstart:
    begin_run()


onsuccess:
    print_summaries()


# What failed may stand thousands of lines above by now.
onerror:
    print_failures()
