"""Types of arguments that several programs take."""


def count(text: str) -> int:
    """Return a whole number of at least 1."""
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number
