"""Read and write pickles without importing or running what they name.

A pickle may name any function to be called. Here every name that is not in a small table is read as an inert object, so
that a checkpoint's settings, enumerations and random states are passed over and never run; and what has to name torch's
classes is written without torch, whose import takes seconds.

A pickle is a program, and a short one can ask for more memory than a machine has. The interpreter here, Python's own in
Python, runs only what a checkpoint needs, in time and memory that grow as the file does, and refuses the rest
(`_Unpickler`).
"""

import io
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pretrain_llama.errors import shortened, shown

MOST_NAMES = 10_000  # of classes and functions in a pickle; a checkpoint names about 50
MOST_AXES = 64  # of a tensor: numpy's limit


class Inert:
    """A stand-in for an object of any class: keeps its state as attributes, and does nothing."""

    def __init__(self, *args: Any, **_: Any) -> None:
        if args:
            self.made_of = args

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Of a pickled list."""

    def extend(self, items: Any) -> None:
        """Of a pickled list."""

    def __repr__(self) -> str:
        """Return it as an enumeration's member is made: AttnBackend(5)."""
        made_of = getattr(self, "made_of", ())
        is_simple = isinstance(made_of, tuple) and all(isinstance(part, str | int | float) for part in made_of)
        return f"{type(self).__name__}({', '.join(map(shown, made_of)) if is_simple else '…'})"


class Ordered(dict):
    """A stand-in for an OrderedDict, whose items a pickle sets one by one; it may have attributes."""

    def __init__(self, *_: Any) -> None:
        super().__init__()


def _size(sizes: Any = ()) -> tuple:
    """Return a torch.Size."""
    if len(sizes) > MOST_AXES:
        raise BrokenPickleError(f"a shape of {len(sizes):,} axes")
    return tuple(sizes)


PLAIN = {("collections", "OrderedDict"): Ordered, ("torch", "Size"): _size}


class BrokenPickleError(Exception):
    """The file is no whole pickle, or none of a checkpoint."""


def load(
    file: io.BufferedIOBase | io.RawIOBase,
    known: Mapping[tuple[str, str], Any],
    persistent_load: Callable[[Any], Any] | None = None,
) -> Any:
    """Return what a pickle holds: plain data, and an `Inert` for everything else.

    Args:
        file: positioned where the pickle begins.
        known: what stands for a name, (module, name), besides plain data.
        persistent_load: what stands for a persistent id.

    Raises:
        BrokenPickleError: it is no whole pickle, or none that a checkpoint has.
        OSError: the file cannot be read.
    """
    unpickler = _Unpickler(file, PLAIN | dict(known))
    if persistent_load:
        unpickler.persistent_load = persistent_load
    try:
        return unpickler.load()
    except OSError:
        raise
    except Exception as error:  # of any class: a damaged pickle calls what is known with anything
        raise BrokenPickleError(shortened(str(error)) or type(error).__name__) from error


_Interpreter: Any = pickle._Unpickler
# Opcodes of registered extensions, which would be imported, and of bytearrays, which are filled before they are read.
_LEFT_OUT = b"".join(
    [pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER]
)


class _Unpickler(_Interpreter):
    """Python's own interpreter of pickles, restricted so that time and memory grow as the file does.

    Written in Python, it has a dict for its memo: the one in C makes an array as long as the largest index in the file.
    Some opcodes of no checkpoint are left out. A key has to be simple: the hash of tuples within tuples can take for
    ever. An object's state is copied, so all states together have no more items than were put into dicts.
    """

    def __init__(self, file: Any, known: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(file)
        self._names = dict(known)
        self._items = 0  # put into dicts, less those that were copied to states

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        if (module, name) not in self._names:
            if len(self._names) > MOST_NAMES:
                raise BrokenPickleError(f"more than {MOST_NAMES:,} names")
            self._names[module, name] = type(name, (Inert,), {})
        return self._names[module, name]

    def _build(self) -> None:
        made, state = self.stack[-2:]
        if not isinstance(made, Inert | Ordered):
            raise BrokenPickleError(f"a state of a {type(made).__name__}")
        self._items -= len(state) if isinstance(state, dict) else 0
        if self._items < 0:
            raise BrokenPickleError("one state for many objects")
        self.load_build()

    def _check_keys(self, keys: list[Any]) -> None:
        """Raise BrokenPickleError unless keys are simple: texts, numbers, inert objects, or tuples of these."""
        self._items += len(keys)
        for key in keys:
            parts = key if isinstance(key, tuple) else (key,)
            if len(parts) > MOST_AXES or not all(
                isinstance(part, str | bytes | int | float | Inert | None) for part in parts
            ):
                raise BrokenPickleError(f"a key of type {type(key).__name__} that is not simple")

    def _set_item(self) -> None:
        self._check_keys(self.stack[-2:-1])
        self.load_setitem()

    def _set_items(self) -> None:
        self._check_keys(self.stack[::2])
        self.load_setitems()

    def _make_dict(self) -> None:
        self._check_keys(self.stack[::2])
        self.load_dict()

    def _add_items(self) -> None:
        self._check_keys(self.stack)
        self.load_additems()

    def _make_frozenset(self) -> None:
        self._check_keys(self.stack)
        self.load_frozenset()

    dispatch: ClassVar = {key: function for key, function in _Interpreter.dispatch.items() if key not in _LEFT_OUT} | {
        pickle.BUILD[0]: _build,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _make_dict,
        pickle.ADDITEMS[0]: _add_items,
        pickle.FROZENSET[0]: _make_frozenset,
    }


@dataclass(frozen=True)
class Name:
    """A class or function, by its name."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """The result of a function for some arguments."""

    function: Name
    arguments: tuple


@dataclass(frozen=True)
class New:
    """An object of a class, with its state."""

    cls: Name
    state: Any


@dataclass(frozen=True)
class Pairs:
    """A dict whose keys may be such objects."""

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
