"""Build the first page of the report: documents, tokens by language, mixtures, trainings, samples, and what is pending.

It stands in Snakemake's own report, above the graph of rules; whatever is not there yet is left out.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain_llama.configuration import load_run
from pretrain_llama.files import read_json
from pretrain_llama.mixture.mixture import FILE, Mixture
from pretrain_llama.report import html
from pretrain_llama.report.overview_figures import languages_figure, shares_figure
from pretrain_llama.report.samples import samples
from pretrain_llama.report.svg import short
from pretrain_llama.report.training_figures import loss_figure, validation_figure
from pretrain_llama.run.account import Account, read_account
from pretrain_llama.run.log_file import VALIDATION, read_log
from pretrain_llama.run.state import told

FATES = {"tokenized": "documents", "held out": "held_out_documents", "blank": "blank"}
COUNTED = re.compile(r"(\w+) {2,}([\d,]+)(?: {2,}(.*))?")
COLUMNS = re.compile(r" {2,}")
BELOW = "Counting tokens reaches the dashed line; what is below it takes looking at context."
NOTHING, TOTAL = "Nothing to be done", "total"


def page(results: Path, tokenizers: Sequence[str], runs: Sequence[str], pending: str, node_hours: str) -> str:
    """Return the page as HTML, to be put into Snakemake's.

    Args:
        results: folder of the results.
        tokenizers: identities.
        runs: their names.
        pending: what `snakemake --dry-run` said; nothing where it was not asked.
        node_hours: what sum_node_hours.py said; nothing where there are no tasks of Azure Batch.
    """
    return html.part(
        *(section for tokenizer in tokenizers for section in _documents(results / "tokenized" / tokenizer)),
        *(section for run in runs for section in _run(results / "runs" / run)),
        *_pending(pending),
        *_node_hours(node_hours),
    )


def _documents(tokenized: Path) -> list[str]:
    path = tokenized / "conservation.json"
    title = html.heading(f"Documents, with tokenizer {tokenized.name}")
    if not path.exists():
        return [title, html.paragraph("Not all of its shards are tokenized and counted yet.")]
    sums = read_json(path)
    total = sums["total"]
    fates = {name: total[key] for name, key in FATES.items()} | {"rejected": sum(total["rejected"].values())}
    parts = " + ".join(f"{count:,} {name}" for name, count in fates.items())
    figures = {
        "vendor files": f"{total['files']:,}",
        "lines in": f"{total['lines']:,}",
        "documents out": f"{total['documents']:,}",
        "shards": f"{total['shards']:,}",
        "tokens to train on": short(total["tokens"]),
    }
    drawn = html.figure("Tokens by language", languages_figure(_tokens(sums["corpora"])), "To train on, by domain.")
    accounted = f"{total['lines']:,} lines of {total['files']:,} vendor files = {parts}."
    return [title, html.key_figures(figures), html.paragraph(accounted), html.figures(drawn)]


def _tokens(corpora: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return the tokens to train on by language and domain."""
    tokens: dict[str, dict[str, int]] = {}
    for corpus, sums in corpora.items():
        language, domain, _ = corpus.split("_", 2)
        domains = tokens.setdefault(language, {})
        domains[domain] = domains.get(domain, 0) + sums["tokens"]
    return tokens


def _run(folder: Path) -> list[str]:
    title = html.heading(f"Run {folder.name}")
    if not (folder / "mixture" / FILE).exists():
        return [title, html.paragraph("Its probabilities are not computed yet.")]
    mixture = Mixture.read(folder / "mixture")
    drawn = [
        html.figure(
            "Mixture",
            shares_figure(mixture),
            "Percent of what the training draws, and how often it passes over what is there.",
        )
    ]
    if not (folder / "manifest.json").exists():
        return [title, html.paragraph("Its folder is not written yet."), html.figures(*drawn)]
    account = read_account(folder, load_run(folder))
    body = [title, html.paragraph(f"{told(str(folder), account).capitalize()}.")]
    if account.steps:
        body.append(html.key_figures(_training(account, mixture)))
        drawn = [*_losses(folder, account), *drawn]
    return [*body, html.figures(*drawn), *samples(folder, html.subheading)]


def _training(account: Account, mixture: Mixture) -> dict[str, str]:
    most = max(mixture.epochs(shard) for shard in mixture.shards)
    return {
        "iterations": f"{account.iteration:,} of {account.iterations:,}",
        "tokens trained on": short(account.trained),
        "first loss": f"{account.steps[0]['loss']:.3f}",
        "last loss": f"{account.steps[-1]['loss']:.3f}",
        "most epochs of a shard": f"{most:.3g}",
    }


def _losses(folder: Path, account: Account) -> list[str]:
    summary = folder / "summary.json"
    entropy = read_json(summary)["unigram_entropy"] if summary.exists() else None
    caption = "" if entropy is None else BELOW
    drawn = [html.figure("Loss", loss_figure(account.steps, entropy), caption)]
    if evaluations := read_log(folder / "output", VALIDATION):
        caption = "Documents held out of training, by language and domain."
        drawn.append(html.figure("Validation", validation_figure(evaluations), caption))
    return drawn


def _pending(told_by_snakemake: str) -> list[str]:
    """Return the jobs of a preview's table in words; the table is that of the screen's logger plugin."""
    if not told_by_snakemake:
        return []
    title = html.heading("What is pending")
    if NOTHING in told_by_snakemake:
        return [title, html.paragraph("Nothing: all that the project asks for is made.")]
    rows = [match.groups("") for line in told_by_snakemake.splitlines() if (match := COUNTED.fullmatch(line))]
    jobs = next((count for rule, count, _ in rows if rule == TOTAL), "")
    cells = [(*_words(words), count, rule) for rule, count, words in rows if rule != TOTAL]
    lead = f"{jobs} jobs, as snakemake --dry-run told when this report was made; snakemake runs them."
    table = html.table(("what for", "how much", "jobs", "rule"), cells, ("what for", "rule"))
    return [title, html.paragraph(lead), table]


def _words(text: str) -> tuple[str, str]:
    """Return what jobs are for, and how much they read."""
    what, *amount = COLUMNS.split(text)
    return what, "".join(amount)


def _node_hours(text: str) -> list[str]:
    if not text:
        return []
    lead = "By the times of the tasks, beside the estimate, if a listing was given."
    return [html.heading("What the nodes of Azure Batch took"), html.paragraph(lead), html.preformatted(text)]
