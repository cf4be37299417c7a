"""What a run made of its documents and tokens, in one short table."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from pretrain_llama.files import read_json
from pretrain_llama.mixture import ledger
from pretrain_llama.mixture.entropy import unigram_entropy
from pretrain_llama.mixture.mixture import Mixture
from pretrain_llama.tables import text_table
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.training.log_file import read_log

LAST_ITERATIONS = 10
COLUMNS = ("language", "domain", "documents", "tokens", "probability", "epochs")


def summarize(conservation: Path, run_folder: Path) -> dict[str, Any]:
    """Return a run's figures.

    Args:
        conservation: conservation.json, the sums of the documents.
        run_folder: of the run, trained.
    """
    sums = read_json(conservation)
    total = sums["total"]
    mixture = Mixture.read(run_folder / "mixture")
    arrays = [IndexedReader(run_folder / "data" / name).tokens_array for name in mixture.by_name]
    losses = [record["loss"] for record in read_log(run_folder / "output")]
    last = losses[-LAST_ITERATIONS:]
    return {
        "shards": total["shards"],
        "documents": {
            "vendor_lines": total["lines"],
            "blank": total["blank"],
            "rejected": sum(total["rejected"].values()),
            "held_out": total["held_out_documents"],
            "tokenized": total["documents"],
        },
        "corpora": _by_domain(sums["corpora"], mixture),
        "iterations": len(losses),
        "first_loss": losses[0],
        "last_loss": sum(last) / len(last),
        "unigram_entropy": unigram_entropy(arrays, [shard.probability for shard in mixture.shards]),
    }


def _by_domain(corpora: dict[str, dict[str, Any]], mixture: Mixture) -> list[dict[str, Any]]:
    """Return documents and tokens that were made, and epochs over those sampled, by language and domain, sorted."""
    made: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for corpus, sums in corpora.items():
        language, domain, _ = corpus.split("_", 2)
        made[language, domain].update({key: sums[key] for key in ("documents", "tokens")})
    drawn = ledger.by_domain(mixture)
    rows = []
    for of in sorted(made.keys() | drawn.keys()):
        line = drawn.get(of, ledger.Line())
        values = (*of, made[of]["documents"], made[of]["tokens"], line.probability, line.epochs)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def as_text(summary: dict[str, Any], run_folder: Path) -> str:
    """Return the figures of `summarize` as a table for a terminal."""
    documents = summary["documents"]
    lines = [
        f"run {run_folder.name}: {summary['shards']} shards, {summary['iterations']} iterations",
        f"documents: {documents['vendor_lines']:,} vendor lines = {documents['tokenized']:,} tokenized"
        f" + {documents['held_out']:,} held out + {documents['rejected']:,} rejected + {documents['blank']:,} blank",
        "",
        text_table(COLUMNS, [_cells(row) for row in summary["corpora"]], words=2),
        f"loss, nats a token: first {summary['first_loss']:.3f}, mean of the last {LAST_ITERATIONS} "
        f"{summary['last_loss']:.3f}; unigram entropy of the data {summary['unigram_entropy']:.3f}",
        f"checkpoints   {run_folder}/output/checkpoints",
        f"Hugging Face  {run_folder}/export/final",
        f"TensorBoard   tensorboard --logdir {run_folder}/output/tensorboard",
        f"pages         {run_folder}/training.html, {run_folder}/mixture.html",
        "report        make report",
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    formats = ("", "", ",", ",", ".4f", ".3f")
    return [format(row[column], form) for column, form in zip(COLUMNS, formats, strict=True)]
