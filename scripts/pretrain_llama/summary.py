"""What a run made of its documents and tokens, in one short table."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from pretrain_llama.errors import DataError
from pretrain_llama.files import read_json
from pretrain_llama.mixture.entropy import unigram_entropy
from pretrain_llama.names import PREFIX_SUFFIX, parse_counted, parse_shard
from pretrain_llama.receipts import MergeReceipt, TokenizeReceipt
from pretrain_llama.shards.plan import shard_names
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.training.log_file import read_log

LAST_ITERATIONS = 10


def summarize(plans: list[Path], shards: Path, tokenized: Path, run_folder: Path) -> dict[str, Any]:
    """Return a run's figures.

    Args:
        plans: recorded plan of each corpus.
        shards: folder of the merge receipts.
        tokenized: folder of the tokenization receipts.
        run_folder: of the run, trained.

    Raises:
        DataError: documents were lost or added on the way.
    """
    names = [shard for path in plans for shard in shard_names(read_json(path))]
    merged = [MergeReceipt.read(shards / f"{shard}.receipt.json") for shard in names]
    receipts = [TokenizeReceipt.read(tokenized / f"{shard}{PREFIX_SUFFIX}.receipt.json") for shard in names]
    documents = {
        "vendor_lines": sum(receipt.lines_read for receipt in merged),
        "blank": sum(receipt.blank for receipt in merged),
        "rejected": sum(sum(receipt.rejected.values()) for receipt in receipts),
        "tokenized": sum(receipt.documents for receipt in receipts),
    }
    if documents["vendor_lines"] != documents["blank"] + documents["rejected"] + documents["tokenized"]:
        raise DataError(
            f"the documents do not add up: {documents}", where=tokenized, action="delete the shards there and run again"
        )
    mixture = read_json(run_folder / "mixture" / "probabilities.json")
    probabilities = mixture["probabilities"]
    arrays = [IndexedReader(run_folder / "data" / name).tokens_array for name in probabilities]
    losses = [record["loss"] for record in read_log(run_folder / "output")]
    last = losses[-LAST_ITERATIONS:]
    return {
        "shards": len(names),
        "documents": documents,
        "corpora": _by_domain(receipts, probabilities, mixture["training_tokens"]),
        "iterations": len(losses),
        "first_loss": losses[0],
        "last_loss": sum(last) / len(last),
        "unigram_entropy": unigram_entropy(arrays, list(probabilities.values())),
    }


def _by_domain(
    receipts: list[TokenizeReceipt], probabilities: dict[str, float], training_tokens: int
) -> list[dict[str, Any]]:
    """Return documents, tokens and epochs by language and domain, sorted."""
    rows: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for receipt in receipts:
        shard = parse_shard(receipt.shard)
        rows[shard.language, shard.domain]["documents"] += receipt.documents
        rows[shard.language, shard.domain]["tokens"] += receipt.tokens
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
        f" + {documents['rejected']:,} rejected + {documents['blank']:,} blank",
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
        f"Hugging Face  {run_folder}/huggingface",
        f"TensorBoard   tensorboard --logdir {run_folder}/output/tensorboard",
        f"plots         {run_folder}/loss.png, {run_folder}/mixture/mixture.png",
        "report        snakemake --report results/report.html",
    ]
    return "\n".join(lines) + "\n"
