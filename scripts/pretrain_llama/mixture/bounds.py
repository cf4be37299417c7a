"""Bound how far megatron-core's blend may deviate from the number of sequences wanted of each shard.

Before each draw it computes the error w t - n of each shard (w its probability, t sequences drawn of all, n of it), and
draws from the shard with the largest (megatron/core/datasets/helpers.cpp, build_blending_indices). Errors sum to 0, so
the largest is at least 0: n is never above w t + 1. In the other direction it may be farther: a shard waits while
others draw level with it. After a draw, the k shards furthest behind lag by H(N) - H(k) - 1/N on average at most, with
H the harmonic numbers and N the number of shards (Adler et al., A proportionate fair scheduling rule with good
worst-case performance, SPAA 2003, for a bucket emptied before it is filled); so the error is below H(N) - 1 + w. What
is wanted is w t rounded up or down.
"""


def harmonic_number(shards: int) -> float:
    """Return 1 + 1/2 + … + 1/shards."""
    return sum(1 / k for k in range(1, shards + 1))


def is_possible(drawn: int, wanted: int, probability: float, harmonic: float) -> bool:
    """Say whether a blend of that rule may draw so many sequences of a shard.

    Args:
        drawn, wanted: sequences of the shard, wanted by largest remainder.
        probability: of the shard.
        harmonic: `harmonic_number` of all shards of the blend.
    """
    return drawn - wanted <= 1 and wanted - drawn < harmonic + probability
