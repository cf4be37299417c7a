"""Build the page about a training: curves, validation by language and domain, checkpoint, provenance."""

import statistics
from math import prod
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints import passport
from pretrain_llama.configuration import load_run
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import read_json
from pretrain_llama.report import html
from pretrain_llama.report.samples import samples
from pretrain_llama.report.svg import short
from pretrain_llama.report.training_figures import POINTS, Records, curve_figure, loss_figure, validation_figure
from pretrain_llama.run.account import Account, read_account, read_domains
from pretrain_llama.run.folder import FINISHED, read_manifest
from pretrain_llama.run.log_file import VALIDATION, read_log

LAST_ITERATIONS = 10
SHOWN_CHARACTERS = 12  # of a hash
NOT_KNOWN = "not recorded"
WHAT = " "  # a column that needs no name


def page(run_folder: Path) -> str:
    """Return the page as HTML, of a training that has ended or is still running.

    Raises:
        OperatorError: the run folder is not complete, or nothing was trained yet.
    """
    manifest = read_manifest(run_folder)
    output = run_folder / "output"
    account = read_account(run_folder, load_run(run_folder))
    if not account.steps:
        raise OperatorError("nothing was trained yet", where=output, action="start it: bash launch.sh")
    state = "It has ended." if (output / FINISHED).exists() else "It has not ended."
    return html.page(
        f"Training of {run_folder.name}",
        f"{state} Curves are over the tokens consumed.",
        _key_figures(account),
        html.figures(*_figures(run_folder, account.steps)),
        *_validation(read_log(output, VALIDATION)),
        *_consumption(output),
        html.heading("Where it started from"),
        _checkpoint(run_folder / "checkpoint"),
        html.heading("Provenance"),
        _provenance(manifest),
        html.details("run.yaml, every default written out", html.preformatted((run_folder / "run.yaml").read_text())),
        *samples(run_folder),
    )


def _key_figures(account: Account) -> str:
    records, last = account.steps, account.steps[-1]
    losses = [record["loss"] for record in records[-LAST_ITERATIONS:]]
    figures = {
        "iterations": f"{account.iteration:,}",
        "tokens trained on": short(account.trained),
        f"loss, mean of the last {len(losses)}": f"{statistics.fmean(losses):.3f}",
        "tokens a second": short(_median(records, "tokens_per_second")),
    }
    if "mfu" in last:
        figures["MFU"] = f"{100 * _median(records, 'mfu'):.1f} %"
    figures |= {
        "TFLOP/s a device": f"{_median(records, 'tflops_per_second_per_device'):.3g}",
        "hours of steps": f"{sum(record['step_seconds'] for record in records) / 3600:.3g}",
        "GiB at most": f"{max(record['memory_bytes'] for record in records) / 2**30:.3g}",
        "skipped steps": f"{last['skipped_steps']:,}",
        "rewinds": f"{last['rewinds']:,}",
        "tokens that these left out": short(account.consumed - account.trained),
    }
    return html.key_figures(figures)


def _median(records: Records, key: str) -> float:
    return statistics.median(record[key] for record in records)


def _figures(run_folder: Path, records: Records) -> list[str]:
    summary = run_folder / "summary.json"
    entropy = read_json(summary)["unigram_entropy"] if summary.exists() else None
    evaluations = read_log(run_folder / "output", VALIDATION)
    caption = "Grey: the least and the most of neighbouring iterations. " * (len(records) > POINTS)
    if entropy is not None:
        caption += "Counting tokens reaches the dashed line; what is below it takes looking at context."
    shown = [html.figure("Loss", loss_figure(records, entropy), caption)]
    if evaluations:
        drawn = validation_figure(evaluations)
        shown.append(html.figure("Validation", drawn, "Documents held out of training, by language and domain."))
    curves = [("Learning rate", "learning_rate", "", 1.0), ("Gradient norm", "gradient_norm", "before clipping", 1.0)]
    curves.append(("Throughput", "tokens_per_second", "tokens a second", 1.0))
    if "mfu" in records[-1]:
        curves.append(("MFU", "mfu", "percent of the device's peak", 100.0))
    return shown + [html.figure(title, curve_figure(records, key, unit, by), "") for title, key, unit, by in curves]


def _validation(evaluations: Records) -> list[str]:
    if not evaluations:
        return []
    first, last = evaluations[0], evaluations[-1]
    header = ("", "loss", "perplexity", f"loss at iteration {first['iteration']:,}")
    rows = [
        (name, f"{loss:.4f}", f"{last['perplexity'][name]:,.2f}", f"{first['loss'].get(name, float('nan')):.4f}")
        for name, loss in sorted(last["loss"].items())
    ]
    return [html.heading(f"Validation at iteration {last['iteration']:,}"), html.table(header, rows)]


def _consumption(output: Path) -> list[str]:
    iteration, domains = read_domains(output)
    if not domains:
        return []
    rows = []
    for name, taken in sorted(domains.items()):
        parts = [NOT_KNOWN if tokens is None else f"{tokens:,}" for tokens in (taken.left_out, taken.trained)]
        rows.append((name, f"{taken.consumed:,}", *parts, f"{taken.epochs:.4g}"))
    header = ("", "tokens consumed", "left out", "trained on", "epochs consumed")
    return [html.heading(f"Consumed up to iteration {iteration:,}"), html.table(header, rows)]


def _checkpoint(folder: Path) -> str:
    """Return what the passport of the converted checkpoint says, and its verification."""
    read = passport.read(folder)
    tensors = read["tensors"].values()
    padding, verification = read["padding"], read["verification"]
    rows = [
        ("converted from", read["source"]["format"]),
        ("parameters", f"{sum(prod(tensor['shape']) for tensor in tensors):,} in {len(tensors):,} tensors"),
        ("types", ", ".join(f"{count:,} {dtype}" for dtype, count in read["dtypes"].items())),
        ("vocabulary", _vocabulary(read["architecture"]["vocab_size"], padding)),
        *(_verified(verification) if verification else [("verified", "no")]),
        *(_hash_row(name, digest) for name, digest in read["source"]["files"].items()),
    ]
    return html.table(("", WHAT), rows, words=("", WHAT))


def _vocabulary(vocab_size: int, padding: dict[str, Any]) -> str:
    padded, rows = padding["padded_vocab_size"], padding["rows"]
    return f"{vocab_size:,}, padded to {padded:,} with rows: {rows}" if padded > vocab_size else f"{vocab_size:,}"


def _verified(verification: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("verified", f"{verification['tensors']:,} tensors, bit for bit")]
    for each in verification["logits"]:
        layout = f"{each['precision']}, tensor {each['tensor']} x pipeline {each['pipeline']}"
        rows.append(
            (f"logits, {layout}", f"differ by up to {each['largest_difference']:.2g}, {each['allowed']:.2g} allowed")
        )
    return rows


def _hash_row(name: str, digest: str) -> tuple[str, str]:
    return (name, f"SHA-256 {digest[:SHOWN_CHARACTERS]}…")


def _provenance(manifest: dict[str, Any]) -> str:
    identity = manifest["identity"]
    rows = [
        ("commit", manifest["commit"] or "not in a git repository"),
        ("tokenizer", identity["tokenizer"]),
        *manifest["versions"].items(),
        *(_hash_row(name, digest) for name, digest in manifest["files"].items() if name.startswith("sources/")),
    ]
    return html.table(("", WHAT), rows, words=("", WHAT))
