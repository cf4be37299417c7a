"""Format tables for a terminal."""

from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], words: int, notes: int = 0) -> str:
    """Return a table whose columns are as wide as they need to be.

    Args:
        header: names of the columns.
        rows: of texts, one for each column.
        words: how many of the first columns hold words, which stand to the left; numbers stand to the right.
        notes: how many of the last columns hold words, too.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if words <= number < len(header) - notes else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)
