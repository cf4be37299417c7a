"""Build parts of HTML pages: key figures, figures, tables, and the page itself."""

from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).with_name("page.html")
STYLE = Path(__file__).with_name("page.css")


def page(title: str, lead: str, *body: str) -> str:
    """Return a page as HTML; title and lead are texts, the body is HTML."""
    template, style = (path.read_text(encoding="utf-8") for path in (TEMPLATE, STYLE))
    return Template(template).substitute(title=escape(title), lead=escape(lead), style=style, body="\n".join(body))


def part(*body: str) -> str:
    """Return HTML to be put into a page of others, in our style."""
    return f'<style>\n{STYLE.read_text(encoding="utf-8")}</style>\n<div class="page">\n' + "\n".join(body) + "\n</div>"


def key_figures(figures: Mapping[str, str]) -> str:
    """Return figures that a person reads first, by what they are."""
    shown = (f"<span><b>{escape(figure)}</b>{escape(what)}</span>" for what, figure in figures.items())
    return f'<div class="key">{"".join(shown)}</div>'


def figures(*parts: str) -> str:
    """Return figures beside each other, below each other on a phone."""
    return f'<div class="figures">\n{"".join(parts)}</div>'


def figure(title: str, svg: str, caption: str) -> str:
    """Return a figure with its title and caption, which are texts."""
    return f"<figure>\n<h2>{escape(title)}</h2>\n{svg}\n<figcaption>{escape(caption)}</figcaption>\n</figure>\n"


def heading(title: str) -> str:
    """Return the heading of a section."""
    return f"<h2>{escape(title)}</h2>"


def subheading(title: str) -> str:
    """Return the heading of a part of a section."""
    return f"<h3>{escape(title)}</h3>"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    """Return a text as it is, line by line."""
    return f"<pre>{escape(text)}</pre>"


def details(summary: str, body: str) -> str:
    """Return HTML that is shown when its summary is clicked."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[str] = ("",), sums: Collection[str] = ()
) -> str:
    """Return a table.

    Args:
        header: names of the columns.
        rows: of texts, one for each column.
        words: columns that hold words, which stand to the left; numbers stand to the right.
        sums: first words of the rows that are sums.
    """

    def cells(tag: str, row: Sequence[str]) -> str:
        classes = [' class="word"' if name in words else "" for name in header]
        return "".join(f"<{tag}{of}>{escape(cell)}</{tag}>" for of, cell in zip(classes, row, strict=True))

    body = "".join(f"<tr{' class=sum' * (row[0] in sums)}>{cells('td', row)}</tr>\n" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{cells("th", header)}</tr></thead><tbody>\n{body}</tbody></table></div>'
    )
