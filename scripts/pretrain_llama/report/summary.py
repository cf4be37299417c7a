"""Summarize a run's documents and tokens in one short table."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from pretrain_llama.configuration import load_run
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import read_json
from pretrain_llama.mixture import ledger
from pretrain_llama.mixture.entropy import unigram_entropy
from pretrain_llama.mixture.mixture import Mixture
from pretrain_llama.run.account import Domain, read_account, read_domains
from pretrain_llama.tables import text_table
from pretrain_llama.tokenization.indexed import IndexedReader

LAST_ITERATIONS = 10
COLUMNS = ("language", "domain", "documents", "tokens", "probability", "epochs")


def summarize(conservation: Path, run_folder: Path) -> dict[str, Any]:
    """Return a run's figures.

    Args:
        conservation: conservation.json, the sums of the documents.
        run_folder: of the run, trained.

    Raises:
        OperatorError: nothing was trained yet.
    """
    output = run_folder / "output"
    iteration, domains = read_domains(output)
    if not domains:
        raise OperatorError("nothing was trained yet", where=output, action="start it: bash launch.sh")
    sums = read_json(conservation)
    total = sums["total"]
    mixture = Mixture.read(run_folder / "mixture")
    arrays = [IndexedReader(run_folder / "data" / name).tokens_array for name in mixture.by_name]
    account = read_account(run_folder, load_run(run_folder))
    losses = [record["loss"] for record in account.steps]
    last = losses[-LAST_ITERATIONS:]
    return {
        "shards": total["shards"],
        "documents": {
            "vendor_lines": total["lines"],
            "blank": total["blank"],
            "rejected": sum(total["rejected"].values()),
            "held_out": total["held_out_documents"],
            "tokenized": total["documents"],
            "duplicates": total.get("duplicates", 0),  # of earlier versions, none
            "withdrawn": total.get("withdrawn", 0),
        },
        "corpora": _by_domain(sums["corpora"], mixture, domains),
        "drawn_up_to_iteration": iteration,
        "tokens_consumed": account.consumed,
        "tokens_trained": account.trained,
        "iterations": len(losses),
        "first_loss": losses[0],
        "last_loss": sum(last) / len(last),
        "unigram_entropy": unigram_entropy(arrays, [shard.probability for shard in mixture.shards]),
    }


def _by_domain(
    corpora: dict[str, dict[str, Any]], mixture: Mixture, domains: dict[str, Domain]
) -> list[dict[str, Any]]:
    """Return documents and tokens that were made, and what was drawn of them, by language and domain, sorted.

    Args:
        corpora: sums of the documents, by corpus.
        mixture: the present one, which says the probability.
        domains: what all phases took of each.
    """
    made: dict[str, Counter[str]] = defaultdict(Counter)
    for corpus, sums in corpora.items():
        language, domain, _ = corpus.split("_", 2)
        copies = (sums.get("duplicates", 0), sums.get("duplicate_tokens", 0))
        kept = {"documents": sums["documents"] - copies[0], "tokens": sums["tokens"] - copies[1]}
        made[f"{language}_{domain}"].update(kept)
    probabilities = {
        line.Index.replace(" ", "_"): line.probability for line in ledger.sums(mixture, "domain").itertuples()
    }
    rows = []
    for name in sorted(made.keys() | probabilities.keys() | domains.keys(), key=lambda name: name.split("_", 1)):
        counts, taken = (made[name]["documents"], made[name]["tokens"]), domains.get(name, Domain(0, 0, 0.0))
        values = (*name.split("_", 1), *counts, probabilities.get(name, 0.0), taken.epochs)
        rows.append(
            dict(zip(COLUMNS, values, strict=True))
            | {"consumed_tokens": taken.consumed, "trained_tokens": taken.trained}
        )
    return rows


def as_text(summary: dict[str, Any], run_folder: Path) -> str:
    """Return the figures of `summarize` as a table for a terminal."""
    documents = summary["documents"]
    lines = [
        f"run {run_folder.name}: {summary['shards']} shards, {summary['iterations']} iterations",
        f"documents: {documents['vendor_lines']:,} vendor lines = {documents['tokenized']:,} tokenized"
        f" + {documents['held_out']:,} held out + {documents['rejected']:,} rejected + {documents['blank']:,} blank"
        + (f" + {documents['withdrawn']:,} withdrawn" if documents["withdrawn"] else ""),
        *([f"of those tokenized, {documents['duplicates']:,} are left out as copies"] * bool(documents["duplicates"])),
        "",
        text_table(COLUMNS, [_cells(row) for row in summary["corpora"]], words=2),
        f"epochs: drawn up to iteration {summary['drawn_up_to_iteration']:,}, all phases together; "
        "probability: of the present mixture",
        *_left_out(summary),
        f"loss, nats a token: first {summary['first_loss']:.3f}, mean of the last "
        f"{min(LAST_ITERATIONS, summary['iterations'])} {summary['last_loss']:.3f}; "
        f"unigram entropy of the data {summary['unigram_entropy']:.3f}",
        f"checkpoints   {run_folder}/output/checkpoints",
        f"Hugging Face  {run_folder}/export/final",
        f"TensorBoard   tensorboard --logdir {run_folder}/output/tensorboard",
        f"pages         {run_folder}/training.html, {run_folder}/mixture.html",
        "report        make report",
    ]
    return "\n".join(lines) + "\n"


def _left_out(summary: dict[str, Any]) -> list[str]:
    left_out = summary["tokens_consumed"] - summary["tokens_trained"]
    if not left_out:
        return []
    return [f"trained on {summary['tokens_trained']:,} tokens; rewinds and skipped steps left out {left_out:,} more"]


def _cells(row: dict[str, Any]) -> list[str]:
    formats = ("", "", ",", ",", ".4f", ".3f")
    return [format(row[column], form) for column, form in zip(COLUMNS, formats, strict=True)]
