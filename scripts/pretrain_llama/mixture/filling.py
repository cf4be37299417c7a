"""Divide a language's probability among its shards, in proportion to weights, none above its cap."""

from itertools import accumulate
from math import fsum

# What the rounding of float64 may do to a sum of probabilities.
TOLERANCE = 1e-12


def fill(weights: list[float], caps: list[float], share: float) -> list[float]:
    """Return min(level x weight, cap) of each shard, with the level at which they sum to the share.

    Water-filling: shards are capped in the order in which a rising level reaches their caps, until the rest can take
    what is left in proportion to their weights.

    Args:
        weights: above 0.
        caps: the most that each may get, infinity for no cap; sum at least to the share.
        share: to be shared out, above 0.
    """
    assert fsum(caps) >= share * (1 - TOLERANCE), (caps, share)
    order = sorted(range(len(weights)), key=lambda i: caps[i] / weights[i])
    # Of the shard at each position in that order, and all after it. Summed from the end: nothing cancels.
    weight_left = list(accumulate(weights[i] for i in reversed(order)))[::-1]
    filled, left = list(caps), share
    for position, i in enumerate(order):
        if weights[i] / weight_left[position] * left <= caps[i]:
            free = order[position:]
            # Summed in the shards' own order: without caps, to the last bit what the formula gives.
            total = sum(weights[j] for j in sorted(free))
            for j in free:
                filled[j] = weights[j] / total * left
            break
        left -= caps[i]
    return filled
