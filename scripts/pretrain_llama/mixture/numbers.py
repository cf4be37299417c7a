"""The ranges of numbers that a person may write about a mixture, chosen so that nothing overflows.

Rates, shares, caps and UniMax's epochs are from 1e-15 to 1e15, temperatures from 0.1; a rate may be 0, too. Counts of
tokens stay below 1e19 (names.py, and `MOST_TOKENS`). So the least and the largest product that a mixture is computed
from, such as (1 / 1e19) ** (1 / 0.1 - 1) = 1e-171, are far from the ends of float64, 2e-308 and 2e308: no probability
becomes 0, and no sum infinite.
"""

from typing import Any

LEAST, MOST = 1e-15, 1e15
LEAST_TEMPERATURE = 0.1
MOST_TOKENS = 2**63 - 1  # of a whole training; megatron-core counts them in int64
RANGE = "from 1e-15 to 1e15"


def is_amount(value: Any) -> bool:
    """Say whether a value of a JSON or YAML file is a number that may be a share, a cap, or a rate above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and LEAST <= value <= MOST


def is_rate(value: Any) -> bool:
    """Say whether a value may be a rate: as `is_amount`, or 0."""
    return is_amount(value) or (isinstance(value, int | float) and not isinstance(value, bool) and value == 0)
