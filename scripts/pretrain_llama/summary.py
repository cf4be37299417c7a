"""What a run made of its documents and tokens, in one short table."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from pretrain_llama.files import read_json
from pretrain_llama.mixture.entropy import unigram_entropy
from pretrain_llama.names import parse_counted
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.training.log_file import read_log

LAST_ITERATIONS = 10


def summarize(conservation: Path, run_folder: Path) -> dict[str, Any]:
    """Return a run's figures.

    Args:
        conservation: conservation.json, the sums of the documents.
        run_folder: of the run, trained.
    """
    sums = read_json(conservation)
    total = sums["total"]
    mixture = read_json(run_folder / "mixture" / "probabilities.json")
    probabilities = mixture["probabilities"]
    arrays = [IndexedReader(run_folder / "data" / name).tokens_array for name in probabilities]
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
        "corpora": _by_domain(sums["corpora"], probabilities, mixture["training_tokens"]),
        "iterations": len(losses),
        "first_loss": losses[0],
        "last_loss": sum(last) / len(last),
        "unigram_entropy": unigram_entropy(arrays, list(probabilities.values())),
    }


def _by_domain(
    corpora: dict[str, dict[str, Any]], probabilities: dict[str, float], training_tokens: int
) -> list[dict[str, Any]]:
    """Return documents, tokens and epochs by language and domain, sorted."""
    rows: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for corpus, sums in corpora.items():
        language, domain, _ = corpus.split("_", 2)
        rows[language, domain]["documents"] += sums["documents"]
        rows[language, domain]["tokens"] += sums["tokens"]
    for name, probability in probabilities.items():
        shard = parse_counted(name).shard
        rows[shard.language, shard.domain]["probability"] += probability
    return [
        {
            "language": language,
            "domain": domain,
            "documents": int(row["documents"]),
            "tokens": int(row["tokens"]),
            "probability": row["probability"],
            "epochs": row["probability"] * training_tokens / row["tokens"] if row["tokens"] else 0.0,
        }
        for (language, domain), row in sorted(rows.items())
    ]


def as_text(summary: dict[str, Any], run_folder: Path) -> str:
    """Return the figures of `summarize` as a table for a terminal."""
    documents = summary["documents"]
    lines = [
        f"run {run_folder.name}: {summary['shards']} shards, {summary['iterations']} iterations",
        f"documents: {documents['vendor_lines']:,} vendor lines = {documents['tokenized']:,} tokenized"
        f" + {documents['held_out']:,} held out + {documents['rejected']:,} rejected + {documents['blank']:,} blank",
        "",
        f"{'language':<10} {'domain':<14} {'documents':>10} {'tokens':>14} {'probability':>11} {'epochs':>8}",
    ]
    lines += [
        f"{row['language']:<10} {row['domain']:<14} {row['documents']:>10,} {row['tokens']:>14,}"
        f" {row['probability']:>11.4f} {row['epochs']:>8.3f}"
        for row in summary["corpora"]
    ]
    lines += [
        "",
        f"loss, nats a token: first {summary['first_loss']:.3f}, mean of the last {LAST_ITERATIONS} "
        f"{summary['last_loss']:.3f}; unigram entropy of the data {summary['unigram_entropy']:.3f}",
        f"checkpoints   {run_folder}/output/checkpoints",
        f"Hugging Face  {run_folder}/export/final",
        f"TensorBoard   tensorboard --logdir {run_folder}/output/tensorboard",
        f"pages         {run_folder}/training.html, {run_folder}/mixture.html",
        "report        make report",
    ]
    return "\n".join(lines) + "\n"
