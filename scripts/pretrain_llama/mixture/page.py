"""The page about a mixture: one file, which needs no server and nothing from elsewhere."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path
from string import Template

from pretrain_llama.mixture import ledger
from pretrain_llama.mixture.figures import epochs_figure, short, tokens_figure
from pretrain_llama.mixture.mixture import LeftOut, Mixture

TEMPLATE = Path(__file__).with_name("page.html")


def page(mixture: Mixture, title: str) -> str:
    """Return the page as HTML; title: what the mixture is of."""
    capped = any(shard.max_epochs < float("inf") for shard in mixture.shards)
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        length=_length(mixture),
        key=_key_figures(mixture),
        tokens=tokens_figure(mixture),
        epochs=epochs_figure(mixture),
        caps="the upright line is the most that it may have." if capped else "nothing caps them.",
        domains=_domains(mixture),
        left_out=_left_out(mixture.left_out) if mixture.left_out else "<p>No shard is left out.</p>",
        unmatched="".join(f"<p>{escape(key)}</p>" for key in mixture.unmatched_keys),
    )


def _length(mixture: Mixture) -> str:
    length = mixture.length
    of_sequences = f", {length.sequences:,} sequences of {length.sequence_length_tokens:,}"
    tokens = f"The training draws {length.tokens:,} tokens" + of_sequences * (length.sequence_length_tokens > 1)
    return f"{tokens}. Tokenizer: {escape(mixture.tokenizer or 'not named')}."


def _key_figures(mixture: Mixture) -> str:
    line = ledger.total(mixture)
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
    return "".join(f"<span><b>{figure}</b>{what}</span>" for what, figure in figures.items())


def _domains(mixture: Mixture) -> str:
    languages, domains = ledger.by_language(mixture), ledger.by_domain(mixture)
    rows = []
    for language, of_language in languages.items():
        rows.append(_row(language, of_language))
        rows += [_row(f"{language} {d}", line) for (of, d), line in domains.items() if of == language and line.shards]
    header = ("", "epochs", "share", "tokens wanted", "tokens there", "shards", "tokens left out")
    return _table(header, [*rows, _row("all", ledger.total(mixture))], sums={*languages, "all"})


def _row(name: str, line: ledger.Line) -> tuple[str, ...]:
    return (
        name,
        f"{line.epochs:.4g}",
        f"{100 * line.probability:.4g} %",
        f"{line.wanted:,}",
        f"{line.tokens:,}",
        f"{line.shards:,}",
        f"{line.left_out:,}" if line.left_out else "",
    )


def _left_out(left_out: list[LeftOut]) -> str:
    groups: dict[tuple[str, str], list[LeftOut]] = defaultdict(list)
    for left in left_out:
        groups[f"{left.name.shard.language} {left.name.shard.domain}", left.reason].append(left)
    rows = [
        (domain, f"{sum(left.name.tokens for left in of):,}", f"{len(of):,}", reason)
        for (domain, reason), of in sorted(groups.items())
    ]
    shards = [(str(left.name.shard), f"{left.name.tokens:,}", left.reason) for left in left_out]
    return (
        _table(("", "tokens", "shards", "why"), rows)
        + "<details><summary>every shard that is left out</summary>"
        + _table(("", "tokens", "why"), shards)
        + "</details>"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], sums: Collection[str] = ()) -> str:
    """Return a table; words, in the columns "" and "why", stand to the left. sums: first words of the rows that are."""

    def cells(tag: str, row: Sequence[str]) -> str:
        classes = [' class="word"' if name in ("", "why") else "" for name in header]
        return "".join(f"<{tag}{of}>{escape(cell)}</{tag}>" for of, cell in zip(classes, row, strict=True))

    body = "".join(f"<tr{' class=sum' * (row[0] in sums)}>{cells('td', row)}</tr>\n" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{cells("th", header)}</tr></thead><tbody>\n{body}</tbody></table></div>'
    )
