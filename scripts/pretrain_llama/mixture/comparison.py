"""What changes between two mixtures: tokens wanted and epochs, by language, domain and shard."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from pretrain_llama.mixture.mixture import Mixture
from pretrain_llama.names import ShardName
from pretrain_llama.tables import text_table

HEADER = ("", "wanted before", "wanted after", "change", "epochs before", "epochs after")


@dataclass
class Change:
    """Tokens wanted and tokens there of some shards, before and after; 0 where they are not sampled."""

    wanted_before: float = 0.0
    wanted_after: float = 0.0
    there_before: int = 0
    there_after: int = 0

    @property
    def tokens(self) -> float:
        """How many more tokens are wanted after."""
        return self.wanted_after - self.wanted_before

    @property
    def is_shown(self) -> bool:
        """Whether tokens or epochs differ as they are shown; of another tokenizer's shards, epochs alone may."""
        epochs_before, epochs_after = self.cells()[-2:]
        return abs(self.tokens) >= 1 or epochs_before != epochs_after

    def cells(self) -> tuple[str, ...]:
        """Return the columns of the table after the first."""
        return (
            f"{self.wanted_before:,.0f}",
            f"{self.wanted_after:,.0f}",
            f"{self.tokens:+,.0f}",
            _epochs(self.wanted_before, self.there_before),
            _epochs(self.wanted_after, self.there_after),
        )


def _epochs(wanted: float, there: int) -> str:
    return f"{wanted / there:.4f}" if there else "out"


def changes(before: Mixture, after: Mixture, key: Callable[[ShardName], str]) -> dict[str, Change]:
    """Return what changes, by a key of the shards, the largest change of tokens first.

    Shards are the same whose names are, whatever their counts: mixtures of two tokenizers can be compared.
    """
    found: dict[str, Change] = defaultdict(Change)
    for shard in before.shards:
        change = found[key(shard.name.shard)]
        change.wanted_before += shard.probability * before.length.tokens
        change.there_before += shard.name.tokens
    for shard in after.shards:
        change = found[key(shard.name.shard)]
        change.wanted_after += shard.probability * after.length.tokens
        change.there_after += shard.name.tokens
    return dict(sorted(found.items(), key=lambda item: (-abs(item[1].tokens), item[0])))


def as_text(before: Mixture, after: Mixture, most_shards: int) -> str:
    """Return the tables of all changes; most_shards: of those that change most, to list."""
    shards = [item for item in changes(before, after, str).items() if item[1].is_shown]
    levels = {
        "all": changes(before, after, lambda shard: "all"),
        "by language": changes(before, after, lambda shard: shard.language),
        "by domain": changes(before, after, lambda shard: f"{shard.language} {shard.domain}"),
        f"by shard: {len(shards):,} change": dict(shards[:most_shards]),
    }
    rows = []
    for level, found in levels.items():
        rows.append((level, *[""] * (len(HEADER) - 1)))
        rows += [(name, *change.cells()) for name, change in found.items()]
    more = len(shards) - most_shards
    return text_table(HEADER, rows[1:], words=1) + f"and {more:,} more (--shards)\n" * (more > 0)
