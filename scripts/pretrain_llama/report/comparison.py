"""Compare runs: losses at the same tokens and at the end, validation by domain, throughput, settings and data."""

from collections.abc import Sequence

from pretrain_llama.report import html
from pretrain_llama.report.runs import ABSENT, ComparedRun, common_tokens, differences
from pretrain_llama.report.svg import short
from pretrain_llama.report.training_figures import runs_figure
from pretrain_llama.tables import text_table

KEY = " "  # a column that needs no name
CURVES = (
    ("Loss", "loss", "nats a token", 1.0),
    ("Learning rate", "learning_rate", "", 1.0),
    ("Gradient norm", "gradient_norm", "before clipping", 1.0),
    ("Throughput", "tokens_per_second", "tokens a second", 1.0),
    ("MFU", "mfu", "percent of the device's peak", 100.0),
)

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # header, rows


def as_text(runs: Sequence[ComparedRun]) -> str:
    """Return the comparison as tables for a terminal."""
    tokens = common_tokens(runs)
    parts = [
        text_table(*_ends(runs), words=1),
        f"after {tokens:,} consumed tokens, which all have reached, nats a token:\n"
        + text_table(*_losses(runs, tokens), 1),
        _different(runs),
    ]
    return "\n".join(parts)


def page(runs: Sequence[ComparedRun]) -> str:
    """Return the comparison as a page of HTML."""
    tokens = common_tokens(runs)
    logs = {run.name: run.steps for run in runs}
    drawn = [
        html.figure(title, runs_figure(logs, key, unit, scale), "")
        for title, key, unit, scale in CURVES
        if all(key in steps[-1] for steps in logs.values())
    ]
    drawn[1:1] = [
        html.figure(f"Validation, {name.replace('_', ' ')}", runs_figure(_set(runs, name), name, "nats a token"), "")
        for name in _sets(runs)
    ]
    header, rows = _losses(runs, tokens)
    settings = differences(runs)
    return html.page(
        "Runs compared: " + ", ".join(run.name for run in runs),
        f"Curves are over the tokens consumed. All runs have reached {tokens:,} of them.",
        html.table(*_ends(runs)),
        html.figures(*drawn),
        html.heading(f"Losses after {tokens:,} tokens, in nats a token"),
        html.table(header, rows),
        html.heading("What differs"),
        html.table((KEY, *(run.name for run in runs)), settings, (KEY, *(run.name for run in runs)))
        if settings
        else html.paragraph("Nothing, in settings and data."),
    )


def _ends(runs: Sequence[ComparedRun]) -> Table:
    header = ("", "iterations", "tokens trained", "loss", "tokens/s", "hours of steps", "skipped", "rewinds")
    rows: list[tuple[str, ...]] = [
        (
            run.name,
            f"{run.account.iteration:,} of {run.account.iterations:,}",
            f"{run.account.trained:,}",
            f"{run.loss(run.account.consumed):.4f}",
            short(run.median("tokens_per_second")),
            f"{run.hours:.3g}",
            f"{run.steps[-1]['skipped_steps']:,}",
            f"{run.steps[-1]['rewinds']:,}",
        )
        for run in runs
    ]
    return header, rows


def _losses(runs: Sequence[ComparedRun], tokens: int) -> Table:
    """Return the losses at the same tokens: of training, and of each validation set; the last column by how much the
    last run's is above the first's.
    """
    found = {"training": [run.loss(tokens) for run in runs]}
    evaluated = [run.validation(tokens) for run in runs]
    found |= {name: [losses.get(name, float("nan")) for losses in evaluated] for name in _sets(runs)}
    rows = [
        (name, *(ABSENT if loss != loss else f"{loss:.4f}" for loss in losses), _change(losses))
        for name, losses in found.items()
    ]
    return ("", *(run.name for run in runs), "last - first"), rows


def _change(losses: Sequence[float]) -> str:
    change = losses[-1] - losses[0]
    return ABSENT if change != change else f"{change:+.4f}"


def _different(runs: Sequence[ComparedRun]) -> str:
    rows = differences(runs)
    if not rows:
        return "settings and data do not differ\n"
    header = ("what differs", *(run.name for run in runs))
    return text_table(header, rows, words=len(header))


def _sets(runs: Sequence[ComparedRun]) -> list[str]:
    return sorted({name for run in runs for record in run.evaluations for name in record["loss"]})


def _set(runs: Sequence[ComparedRun], name: str) -> dict[str, list[dict[str, float]]]:
    """Return the losses of one validation set as records of a log, by run."""
    return {
        run.name: [
            {"consumed_tokens": record["consumed_tokens"], name: record["loss"][name]}
            for record in run.evaluations
            if name in record["loss"]
        ]
        for run in runs
    }
