"""Command-line arguments that several programs share, and their types."""

from argparse import ArgumentParser, ArgumentTypeError


def flag(text: str) -> bool:
    """Parse true or false, in letters of any case."""
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise ArgumentTypeError(f"{text!r} is neither true nor false") from None


def count(text: str) -> int:
    """Return a whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return number


def add_accepted(parser: ArgumentParser) -> None:
    """Add --accept-argument, for a program that reads Megatron-LM's checkpoints."""
    parser.add_argument(
        "--accept-argument",
        metavar="NAME",
        action="append",
        default=[],
        help="an argument of Megatron-LM that is refused with the checkpoint: you know that the model computes "
        "as a plain Llama nevertheless, and take the responsibility; the passport records it; may be given again",
    )
