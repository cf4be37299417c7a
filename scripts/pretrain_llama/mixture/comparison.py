"""Compare two mixtures: tokens wanted and epochs, by language, domain and shard."""

from typing import TYPE_CHECKING, Any

from pretrain_llama.mixture import ledger
from pretrain_llama.mixture.mixture import Mixture
from pretrain_llama.tables import text_table

if TYPE_CHECKING:
    from pandas import DataFrame

HEADER = ("", "wanted before", "wanted after", "change", "epochs before", "epochs after")


def changes(before: Mixture, after: Mixture, by: str) -> "DataFrame":
    """Return the old and new sums of the sampled shards (`ledger.sums`), the largest change of tokens first.

    Shards are the same whose names are, whatever their counts: mixtures of two tokenizers can be compared. Where a
    mixture samples nothing, its tokens are 0.
    """
    import pandas as pd

    sampled = [ledger.sums(mixture, by).query("shards > 0") for mixture in (before, after)]
    table = pd.merge(*sampled, how="outer", left_index=True, right_index=True, suffixes=("_before", "_after")).fillna(0)
    table["change"] = table["expected_after"] - table["expected_before"]
    return table.sort_values("change", key=abs, ascending=False, kind="stable")


def as_text(before: Mixture, after: Mixture, most_shards: int) -> str:
    """Return the tables of all changes; most_shards: of those that change most, to list."""
    shards = [line for line in changes(before, after, "shard").itertuples() if _is_shown(line)]
    levels = {
        "all": changes(before, after, "all").itertuples(),
        "by language": changes(before, after, "language").itertuples(),
        "by domain": changes(before, after, "domain").itertuples(),
        f"by shard: {len(shards):,} change": shards[:most_shards],
    }
    rows: list[tuple[str, ...]] = []
    for level, lines in levels.items():
        rows.append((level, *[""] * (len(HEADER) - 1)))
        rows += [(line.Index, *_cells(line)) for line in lines]
    more = len(shards) - most_shards
    return text_table(HEADER, rows[1:], words=1) + f"and {more:,} more (--shards)\n" * (more > 0)


def _is_shown(line: Any) -> bool:
    """Say whether tokens or epochs differ as displayed; with another tokenizer's shards, epochs alone may."""
    *_, epochs_before, epochs_after = _cells(line)
    return abs(line.change) >= 1 or epochs_before != epochs_after


def _cells(line: Any) -> tuple[str, ...]:
    """Return the columns of the table after the first."""
    return (
        f"{line.expected_before:,.0f}",
        f"{line.expected_after:,.0f}",
        f"{line.change:+,.0f}",
        f"{line.epochs_before:.4f}" if line.shards_before else "out",
        f"{line.epochs_after:.4f}" if line.shards_after else "out",
    )
