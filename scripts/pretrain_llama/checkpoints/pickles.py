"""Read and write pickles by the names in them, without importing what they name.

A pickle may name any function to be called. Here every name that is not in a small table is read as an inert object, so
that a checkpoint's settings, enumerations and random states are passed over and never run; and what has to name torch's
classes is written without torch, whose import takes seconds.
"""

import io
import pickle
import struct
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class Inert:
    """Stands for an object of any class: keeps its state as attributes, and does nothing."""

    def __init__(self, *args: Any, **_: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Of a pickled list."""

    def extend(self, items: Any) -> None:
        """Of a pickled list."""


PLAIN = {("collections", "OrderedDict"): OrderedDict, ("argparse", "Namespace"): Namespace, ("torch", "Size"): tuple}


class BrokenPickleError(Exception):
    """What is read is no whole pickle."""


def load(
    file: io.BufferedIOBase | io.RawIOBase,
    known: Mapping[tuple[str, str], Any],
    persistent_load: Callable[[Any], Any] | None = None,
) -> Any:
    """Return what a pickle holds: plain data, and an `Inert` for whatever else.

    Args:
        file: positioned where the pickle begins.
        known: what stands for a name, (module, name), besides plain data.
        persistent_load: what stands for a persistent id.

    Raises:
        BrokenPickleError: it is no whole pickle.
    """

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found = known.get((module, name), PLAIN.get((module, name)))
            return type(name, (Inert,), {}) if found is None else found

    unpickler = Unpickler(file)
    if persistent_load:
        unpickler.persistent_load = persistent_load  # type: ignore[method-assign]
    try:
        return unpickler.load()
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise BrokenPickleError(str(error)) from error


@dataclass(frozen=True)
class Name:
    """A class or function, by its name."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """What a function gives for some arguments."""

    function: Name
    arguments: tuple


@dataclass(frozen=True)
class New:
    """An object of a class, with its state."""

    cls: Name
    state: Any


@dataclass(frozen=True)
class Pairs:
    """A dict, of keys that may be such objects."""

    items: list[tuple[Any, Any]]


@dataclass(frozen=True)
class Persistent:
    """An object that is kept elsewhere, by its persistent id."""

    reference: Any


def dump(value: Any) -> bytes:
    """Return the pickle of plain data and of the classes above. What the opcodes mean: the module pickletools."""
    return b"\x80\x02" + _dump(value) + b"."


def _dump(value: Any) -> bytes:
    match value:
        case Name(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return _dump(function) + _dump(arguments) + b"R"
        case New(cls, state):
            return _dump(cls) + b")\x81" + _dump(state) + b"b"
        case Persistent(reference):
            return _dump(reference) + b"Q"
        case Pairs(items):
            return b"}(" + b"".join(_dump(item) for pair in items for item in pair) + b"u"
        case dict():
            return _dump(Pairs(list(value.items())))
        case list():
            return b"](" + b"".join(map(_dump, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(_dump, value)) + b"t"
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case None | bool() | int() | float():
            return pickle.dumps(value, 2)[2:-1]  # between protocol and stop
        case _:
            raise TypeError(f"no plain data: {value!r}")
