"""Build the page about a mixture."""

from typing import Any

from pretrain_llama.mixture import ledger
from pretrain_llama.mixture.mixture import LeftOut, Mixture
from pretrain_llama.report import html
from pretrain_llama.report.mixture_figures import epochs_figure, tokens_figure
from pretrain_llama.report.svg import short

WORDS = ("", "why")


def page(mixture: Mixture, title: str) -> str:
    """Return the page as HTML; title: what the mixture is of."""
    capped = any(shard.max_epochs < float("inf") for shard in mixture.shards)
    caps = "the upright line is the most that it may have." if capped else "nothing caps them."
    return html.page(
        f"Mixture of {title}",
        _length(mixture),
        _key_figures(mixture),
        html.figures(
            html.figure(
                "Tokens there and wanted",
                tokens_figure(mixture),
                "Where wanted is to the right of there, the domain is repeated; the scale is logarithmic.",
            ),
            html.figure(
                "Epochs of each shard",
                epochs_figure(mixture),
                "How often the training passes over a shard. A dot stands for shards of equal epochs and grows with "
                f"their number, up to ten; {caps}",
            ),
        ),
        html.heading("By language and domain"),
        _domains(mixture),
        html.heading("Left out"),
        _left_out(mixture.left_out) if mixture.left_out else html.paragraph("No shard is left out."),
        *map(html.paragraph, mixture.unmatched_keys),
    )


def _length(mixture: Mixture) -> str:
    length = mixture.length
    of_sequences = f", {length.sequences:,} sequences of {length.sequence_length_tokens:,}"
    tokens = f"The training draws {length.tokens:,} tokens" + of_sequences * (length.sequence_length_tokens > 1)
    return f"{tokens}. Tokenizer: {mixture.tokenizer or 'not named'}."


def _key_figures(mixture: Mixture) -> str:
    line = ledger.sums(mixture, "all").loc["all"]
    most = max(mixture.epochs(shard) for shard in mixture.shards)
    figures = {
        "shards sampled": f"{line.shards:,}",
        "shards left out": f"{len(mixture.left_out):,}",
        "tokens there": short(line.tokens),
        "tokens wanted": short(line.wanted),
        "tokens left out": short(line.left_out),
        "epochs on average": f"{line.epochs:.3g}",
        "most epochs of a shard": f"{most:.3g}",
    }
    return html.key_figures(figures)


def _domains(mixture: Mixture) -> str:
    import pandas as pd

    languages, total = ledger.sums(mixture, "language"), ledger.sums(mixture, "all")
    domains = ledger.sums(mixture, "domain").query("shards > 0")
    # "en" sorts before "en books", which sorts before "en-uk".
    lines = [*pd.concat([languages, domains]).sort_index().itertuples(), *total.itertuples()]
    header = ("", "epochs", "share", "tokens wanted", "tokens there", "shards", "tokens left out")
    return html.table(header, list(map(_row, lines)), sums={*languages.index, "all"})


def _row(line: Any) -> tuple[str, ...]:
    return (
        line.Index,
        f"{line.epochs:.4g}",
        f"{100 * line.probability:.4g} %",
        f"{line.wanted:,}",
        f"{line.tokens:,}",
        f"{line.shards:,}",
        f"{line.left_out:,}" if line.left_out else "",
    )


def _left_out(left_out: list[LeftOut]) -> str:
    import pandas as pd

    whys = [(ledger.KEYS["domain"](left.name.shard), left.reason, left.name.tokens) for left in left_out]
    table = pd.DataFrame(whys, columns=["domain", "why", "tokens"], dtype=object)  # counts may be beyond int64
    groups = table.groupby(["domain", "why"])["tokens"].agg(["sum", "size"])
    rows = [(domain, f"{tokens:,}", f"{shards:,}", why) for (domain, why), tokens, shards in groups.itertuples()]
    shards = [(str(left.name.shard), f"{left.name.tokens:,}", left.reason) for left in left_out]
    every = html.details("every shard that is left out", html.table(("", "tokens", "why"), shards, WORDS))
    return html.table(("", "tokens", "shards", "why"), rows, WORDS) + every
