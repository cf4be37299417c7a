"""Turn panics of Rust libraries, such as tokenizers and gigatoken, into exceptions that can be caught."""

from collections.abc import Iterator
from contextlib import contextmanager


class Panic(Exception):
    """A library in Rust panicked; `str()` gives its words."""


@contextmanager
def panics_raised() -> Iterator[None]:
    """Raise a Panic for PyO3's PanicException, which is no Exception, so that `except Exception` misses it."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise Panic(str(error)) from error
