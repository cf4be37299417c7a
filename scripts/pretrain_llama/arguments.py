"""Types of arguments that several programs take."""

from argparse import ArgumentTypeError


def count(text: str) -> int:
    """Return a whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return number
