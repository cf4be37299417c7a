"""Sum a mixture by language, domain or shard: tokens there, tokens wanted, epochs, tokens left out."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pretrain_llama.mixture.mixture import Mixture
from pretrain_llama.names import ShardName
from pretrain_llama.tables import text_table

if TYPE_CHECKING:
    from pandas import DataFrame

KEYS: dict[str, Callable[[ShardName], str]] = {
    "all": lambda shard: "all",
    "language": lambda shard: shard.language,
    "domain": lambda shard: f"{shard.language} {shard.domain}",
    "shard": str,
}
COLUMNS = ("language", "domain", "shards", "tokens there", "tokens wanted", "probability", "epochs", "left out")


def sums(mixture: Mixture, by: str) -> "DataFrame":
    """Return sums of the shards, sorted by name.

    Args:
        mixture: the shards, sampled and left out.
        by: all, language, domain (with its language: "en books"), or shard.

    Columns, of Python's own integers and floats, since counts may be beyond int64:
        shards: how many are sampled.
        tokens: in those that are sampled.
        wanted: tokens that the training draws from them, in whole sequences.
        expected: the same by probability, which gives the epochs: a capped shard has its cap exactly.
        probability: of drawing a sequence from them.
        left_out: tokens in shards that are not sampled.
        epochs: how often the training passes over the sampled shards, on average; 0 where none is.
    """
    import pandas as pd

    key, length = KEYS[by], mixture.length
    rows: list[tuple[object, ...]] = [
        (
            key(shard.name.shard),
            1,
            shard.name.tokens,
            shard.sequences * length.sequence_length_tokens,
            shard.probability * length.tokens,
            shard.probability,
            0,
        )
        for shard in mixture.shards
    ]
    rows += [(key(left.name.shard), 0, 0, 0, 0.0, 0.0, left.name.tokens) for left in mixture.left_out]
    columns = [by, "shards", "tokens", "wanted", "expected", "probability", "left_out"]
    table = pd.DataFrame(rows, columns=columns, dtype=object).groupby(by).sum()
    table["epochs"] = [line.expected / line.tokens if line.tokens else 0.0 for line in table.itertuples()]
    return table


def as_text(mixture: Mixture) -> str:
    """Return the sums, and what is left out, as a text for a terminal."""
    lines = [(line.Index.split(), line) for line in sums(mixture, "domain").itertuples()]
    lines += [((line.Index, "all"), line) for line in sums(mixture, "language").itertuples()]
    lines += [(("all", ""), line) for line in sums(mixture, "all").itertuples()]
    rows = [
        (
            *names,
            f"{line.shards:,}",
            f"{line.tokens:,}",
            f"{line.wanted:,}",
            f"{line.probability:.6f}",
            f"{line.epochs:.4f}",
            f"{line.left_out:,}",
        )
        for names, line in lines
    ]
    left_out = [f"left out: {left.name} ({left.name.tokens:,} tokens): {left.reason}\n" for left in mixture.left_out]
    unmatched = [f"unmatched: {key}\n" for key in mixture.unmatched_keys]
    return text_table(COLUMNS, rows, words=2) + "\n" * bool(left_out or unmatched) + "".join(left_out + unmatched)
