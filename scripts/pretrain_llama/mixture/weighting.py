"""What takes the place of rates for a language: a rule that gives each of its domains a rate.

temperature T   a domain of n tokens is sampled in proportion to n^(1/T): 1 is by tokens, infinity evenly
                (arXiv 1907.05019, with domains for languages)
unimax N        every domain as many tokens as every other, but none more than N epochs (arXiv 2304.09151,
                algorithm 1, with domains for languages)
"""

from collections import defaultdict

from pretrain_llama.names import CountedName

Weighting = dict[str, float]


def rates_of(names: list[CountedName], weighting: Weighting) -> list[float]:
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


def cap_of(weighting: Weighting) -> float:
    """Return the most epochs that a weighting allows a domain; infinity where it sets none."""
    return weighting.get("unimax", float("inf"))
