"""
What is made: all that the runs need and became, or less of it by name; and how a run of Snakemake begins and ends.
"""


def begin_run():
    """Claim the store, since two runs at once would make the same shards twice and pay for both; record the plans.

    A run that is refused, or loses its claim, ends through the scheduler, so that the executor shuts down.
    """
    gc.freeze()  # the graph: from here on, garbage is looked for in what the jobs leave
    gc.enable()
    stop = workflow.scheduler.executor_error_callback
    try:
        with readable_errors():
            if "listing" in config:
                raise ConfigError(
                    "a recorded listing is for previews", where=config["listing"], action="run without listing=…"
                )
            if STORE:
                claim(place("results/running.json"), lambda error: stop(ReadableError(error)))
            for corpus, planned in PLANS.items():
                plan.record(plan_path(corpus), planned)
            for name, expanded in EXPANSIONS.items():
                expansion.record(expansion_path(name), expanded.record)
    except ReadableError as error:
        stop(error)


def print_outcome():
    if STORE:
        print("the shards are in the store. Where they are to be trained on: python scripts/fetch_results.py")
    for path in (Path(f"results/runs/{run}/summary.txt") for run in RUNS):
        if path.exists():
            print(path.read_text())


def print_failures():
    run = newest_run(Path())
    if run and run.failed:
        print("What failed; `make status` shows more:", *failures(run, Path(), 2), sep="\n", file=sys.stderr)


# What the report's first page shows; `make report` has just asked for it.
PENDING = Path("results/pending.txt")
config["pending"] = PENDING.read_text() if PENDING.exists() else ""


def run_pages(name):
    return [local(f"results/runs/{run}/{name}.html") for run in RUNS]


def data_targets(*identities):
    """The counted shards of some tokenizers, signed and checked."""
    return [
        tokenized(*identities),
        lambda wildcards: counted_files(*identities),
        expand("results/tokenized/{tokenizer}/conservation.json", tokenizer=identities),
        documents_pages(*identities),
        [validation_sets(identity) + held_out_check(identity) for identity in identities],
        fertility_plots(*identities),
    ]


def mixture_targets():
    """The probabilities, looked at and checked."""
    return [tokenized(*map(run_tokenizer, RUNS)), run_pages("mixture"), mixture_checks(*RUNS)]


def all_targets():
    """What `rule all` of both Snakefiles asks for. With a store, the rest is done where the training is."""
    if STORE:
        return data_targets(*dict.fromkeys(map(run_tokenizer, RUNS))) + mixture_targets()
    return [
        tokenized(*map(run_tokenizer, RUNS)),
        expand("results/runs/{run}/summary.txt", run=RUNS),
        run_pages("mixture"),
        run_pages("training"),
        documents_pages(*map(run_tokenizer, RUNS)),
        fertility_plots(*map(run_tokenizer, RUNS)),
    ]


# Named targets: `snakemake data` stops at the counted shards, of all tokenizers; `snakemake mixture` at the probabilities.
rule data:
    input:
        data_targets(*IDENTITIES.values()),


rule mixture:
    input:
        mixture_targets(),


onstart:
    begin_run()


onsuccess:
    print_outcome()


# What failed may stand thousands of lines above by now.
onerror:
    print_failures()
