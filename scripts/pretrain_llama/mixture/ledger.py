"""Sums of a mixture by domain and language: tokens there, tokens wanted, epochs, tokens left out."""

from collections.abc import Callable
from dataclasses import dataclass

from pretrain_llama.mixture.mixture import Mixture
from pretrain_llama.names import ShardName
from pretrain_llama.tables import text_table


@dataclass
class Line:
    """Sums of some shards.

    Attributes:
        shards: how many are sampled.
        tokens: in those that are sampled.
        wanted: tokens that the training draws from them, in whole sequences.
        expected: the same by probability, which epochs are reckoned from: a capped shard has its cap exactly.
        probability: of drawing a sequence from them.
        left_out: tokens in shards that are not sampled.
    """

    shards: int = 0
    tokens: int = 0
    wanted: int = 0
    expected: float = 0.0
    probability: float = 0.0
    left_out: int = 0

    @property
    def epochs(self) -> float:
        """How often the training passes over the sampled shards, on average."""
        return self.expected / self.tokens if self.tokens else 0.0


def by_domain(mixture: Mixture) -> dict[tuple[str, str], Line]:
    """Return the sums by language and domain, sorted."""
    return _sums(mixture, lambda shard: (shard.language, shard.domain))


def by_language(mixture: Mixture) -> dict[str, Line]:
    """Return the sums by language, sorted."""
    return _sums(mixture, lambda shard: shard.language)


def total(mixture: Mixture) -> Line:
    """Return the sums of all shards."""
    return _sums(mixture, lambda shard: "")[""]


def _sums(mixture: Mixture, key: Callable[[ShardName], object]) -> dict:
    lines: dict[object, Line] = {}
    for sampled in mixture.shards:
        line = lines.setdefault(key(sampled.name.shard), Line())
        line.shards += 1
        line.tokens += sampled.name.tokens
        line.wanted += sampled.sequences * mixture.length.sequence_length_tokens
        line.expected += sampled.probability * mixture.length.tokens
        line.probability += sampled.probability
    for left in mixture.left_out:
        lines.setdefault(key(left.name.shard), Line()).left_out += left.name.tokens
    return dict(sorted(lines.items()))


COLUMNS = ("language", "domain", "shards", "tokens there", "tokens wanted", "probability", "epochs", "left out")


def as_text(mixture: Mixture) -> str:
    """Return the sums, and what is left out, as a text for a terminal."""
    lines = [(*names, line) for names, line in by_domain(mixture).items()]
    lines += [(language, "all", line) for language, line in by_language(mixture).items()]
    rows = [
        (
            language,
            domain,
            f"{line.shards:,}",
            f"{line.tokens:,}",
            f"{line.wanted:,}",
            f"{line.probability:.6f}",
            f"{line.epochs:.4f}",
            f"{line.left_out:,}",
        )
        for language, domain, line in [*lines, ("all", "", total(mixture))]
    ]
    left_out = [f"left out: {left.name} ({left.name.tokens:,} tokens): {left.reason}\n" for left in mixture.left_out]
    unmatched = [f"unmatched: {key}\n" for key in mixture.unmatched_keys]
    return text_table(COLUMNS, rows, words=2) + "\n" * bool(left_out or unmatched) + "".join(left_out + unmatched)
