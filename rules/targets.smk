"""
Define the targets, all or a part by name, and what happens when a run of Snakemake begins and ends.
"""

from pretrain_llama.launch import project_lock


def begin_run():
    """Claim the store, since two runs at once would make the same shards twice and pay for both; record the plans.

    A run that is refused, or loses its claim, ends through the scheduler, so that the executor shuts down.
    """
    gc.freeze()  # the graph: from here on, garbage is looked for in what the jobs leave
    gc.enable()
    project_lock.share(workflow.persistence)
    stop = workflow.scheduler.executor_error_callback
    try:
        with readable_errors():
            PROJECT.begin(lost=lambda error: stop(ReadableError(error)))
    except ReadableError as error:
        stop(error)


def print_outcome():
    if STORE:
        print("the shards are in the store. Where they are to be trained on: python scripts/fetch_results.py")
    for path in (Path(f"results/runs/{run}/summary.txt") for run in PROJECT.runs):
        if path.exists():
            print(path.read_text())


def print_failures():
    run = newest_run(Path())
    if run and run.failed:
        print("What failed; `make status` shows more:", *failures(run, Path(), 2), sep="\n", file=sys.stderr)


# The report's first page, which `make report` writes.
config["overview"] = Path("results/overview.html").read_text() if Path("results/overview.html").exists() else ""


def run_pages(name):
    return [local(f"results/runs/{run}/{name}.html") for run in PROJECT.runs]


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
    """The probabilities, looked at and checked, and what became of the documents that they are of."""
    return [
        tokenized(*map(run_tokenizer, PROJECT.runs)),
        documents_pages(*map(run_tokenizer, PROJECT.runs)),
        run_pages("mixture"),
        mixture_checks(*PROJECT.runs),
    ]


def all_targets():
    """The inputs of `rule all` in both Snakefiles. With a store, the rest is made where the training runs."""
    if not PROJECT.runs:
        return data_targets(*PROJECT.identities.values())
    if STORE:
        return data_targets(*dict.fromkeys(map(run_tokenizer, PROJECT.runs))) + mixture_targets()
    return [
        tokenized(*map(run_tokenizer, PROJECT.runs)),
        expand("results/runs/{run}/summary.txt", run=PROJECT.runs),
        run_pages("mixture"),
        run_pages("training"),
        documents_pages(*map(run_tokenizer, PROJECT.runs)),
        fertility_plots(*map(run_tokenizer, PROJECT.runs)),
    ]


# Named targets: `snakemake data` stops at the counted shards, of all tokenizers; `snakemake mixture` at the probabilities.
rule data:
    input:
        data_targets(*PROJECT.identities.values()),


rule mixture:
    input:
        mixture_targets(),


onstart:
    begin_run()


onsuccess:
    print_outcome()


# The first failure may be thousands of lines above by now, so it is shown again.
onerror:
    print_failures()
