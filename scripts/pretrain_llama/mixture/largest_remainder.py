"""Round shares to whole sequences by the largest remainder method."""


def largest_remainder(probabilities: list[float], total: int) -> list[int]:
    """Share out a number of sequences in proportion to probabilities, so that the parts sum to it exactly.

    Each gets the whole part of its quota; what is left goes one by one to the largest fractions, ties to the first
    (Hamilton's method). In integers throughout: no rounding of float64 can move a sequence.

    Args:
        probabilities: above 0; they need not sum to 1.
        total: sequences to share out.
    """
    ratios = [probability.as_integer_ratio() for probability in probabilities]
    denominator = max(below for _, below in ratios)  # all are powers of 2
    weights = [above * (denominator // below) for above, below in ratios]
    whole = sum(weights)
    quotas = [divmod(total * weight, whole) for weight in weights]
    counts = [count for count, _ in quotas]
    by_fraction = sorted(range(len(quotas)), key=lambda i: -quotas[i][1])
    for i in by_fraction[: total - sum(counts)]:
        counts[i] += 1
    return counts
