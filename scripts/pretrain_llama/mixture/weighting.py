"""Temperature and UniMax: compute the rates of a language's domains instead of reading them.

temperature T   a domain of n tokens is sampled in proportion to n^(1/T): 1 is by tokens, large ones evenly
                (arXiv 1907.05019, with domains for languages)
unimax N        every domain as many tokens as every other, but none more than N epochs (arXiv 2304.09151,
                algorithm 1, with domains for languages)
"""

from collections import defaultdict

from pretrain_llama.names import CountedName
from pretrain_llama.settings import WeightingSettings


def rates_of(names: list[CountedName], weighting: WeightingSettings) -> list[float]:
    """Return the rate of each shard of a language; the domain with most tokens has rate 1.

    A domain's tokens times rate are n^(1/T) up to a factor that all domains share, so its rate is n^(1/T - 1).

    Args:
        names: of the language's shards, at least one.
        weighting: {"temperature": T} or {"unimax": N}.
    """
    exponent = 1 / weighting["temperature"] - 1 if "temperature" in weighting else -1
    tokens: dict[str, int] = defaultdict(int)
    for name in names:
        tokens[name.shard.domain] += name.tokens
    most = max(tokens.values())
    return [(tokens[name.shard.domain] / most) ** exponent for name in names]


def cap_of(weighting: WeightingSettings) -> float:
    """Return the most epochs that a weighting allows a domain; infinity where it sets no limit."""
    return weighting.get("unimax", float("inf"))
