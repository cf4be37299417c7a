"""Errors that a person can act on: a class for each person who must act, and what is wrong, where, and what next."""

import errno
import os
import reprlib
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

SHOWN = 5  # of what a message lists
SHOWN_TOGETHER = 50  # of what is wrong with many things alike
SHOWN_CHARACTERS = 200  # of what others wrote
EXIT_CODE = 2  # of a program that has said what a person can act on
INTERRUPTED = 128 + signal.SIGINT  # as a shell tells it
STDOUT = 1
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)


class PretrainError(Exception):
    """A problem with a value, where it stands, and the next action.

    The subclass says who must act.
    """

    who = "us"

    def __init__(self, problem: str, *, where: object, action: str) -> None:
        self.problem, self.where, self.action = problem, where, action
        self.parts: list[PretrainError] = [self]  # those of an error that stands for several
        super().__init__(f"{problem}\n  where: {where}\n  next:  {action}")


class ConfigError(PretrainError):
    """The author of the configuration must act."""

    who = "configuration"


class DataError(PretrainError):
    """The owner of the data must act."""

    who = "data"


class OperatorError(PretrainError):
    """Whoever runs the workflow must act: a machine, a file system, a run's state."""

    who = "operation"


class OurError(PretrainError):
    """The authors of these programs must act: an assumption of theirs no longer holds."""

    who = "our own"


def of_system(error: OSError) -> OperatorError | None:
    """Return a full disk, a missing permission or a wrong path as an error for a person; None for anything else."""
    where = error.filename or "the file that was being written"
    if error.errno in DISK_FULL:
        action = "make room there (df -h; ulimit -f), then type the same command: what is whole was kept"
    elif error.errno in _FORBIDDEN:
        action = "give this user the right to it (ls -ld shows whose it is), then type the same command"
    elif error.errno in _NOT_THERE and error.filename:
        action = "correct the path, or make what it names first"
    else:
        return None
    return OperatorError((error.strerror or str(error)).lower(), where=where, action=action)


def raise_together(errors: Sequence[PretrainError], where: object) -> None:
    """Raise what is wrong as one error, so that nobody mends one thing to hear of the next; nothing if all is well.

    Args:
        errors: of many things; of the first one's class is what is raised.
        where: the things are named, where there are several.
    """
    parts = [part for error in errors for part in error.parts]
    if not parts:
        return
    if len(parts) == 1:
        raise parts[0]
    alike: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        alike.setdefault((part.problem, part.action), []).append(str(part.where))
    lines = [
        f"{problem}\n      where: {listed(places, shown=SHOWN_TOGETHER)}\n      next:  {action}"
        for (problem, action), places in alike.items()
    ]
    told = listed(lines, "\n    ", SHOWN_TOGETHER)
    together = type(parts[0])(
        f"{len(parts):,} things are wrong:\n    {told}", where=where, action="mend each as its own line says"
    )
    together.parts = parts
    raise together


def made_of_each[Item, Made](items: Iterable[Item], make: Callable[[Item], Made], where: object) -> list[Made]:
    """Return what is made of each item; what is wrong with some of them is raised together, see `raise_together`."""
    made, errors = [], []
    for item in items:
        try:
            made.append(make(item))
        except PretrainError as error:
            errors.append(error)
        except OSError as error:
            if (readable := of_system(error)) is None:
                raise
            errors.append(readable)
    raise_together(errors, where)
    return made


def listed(items: Sequence[str], separator: str = ", ", shown: int = SHOWN) -> str:
    """Return the first of some items for a message, and how many more there are."""
    more = [f"and {len(items) - shown:,} more"] * (len(items) > shown)
    return separator.join([*items[:shown], *more])


def shown(value: object) -> str:
    """Return a value for a message, of any size or depth: as Python writes it, cut if it is long."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # a number of more digits than Python writes
        return "a number of thousands of digits"


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, SHOWN_CHARACTERS, SHOWN_CHARACTERS


def shortened(text: str) -> str:
    """Return a text for a message, in one line, cut if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…"


def run_program(main: Callable[[], None]) -> None:
    """Run a program's main; what a person can act on becomes one readable message and exit code 2.

    A program whose output nobody reads any more, as after `| head`, ends quietly.
    """
    try:
        main()
    except KeyboardInterrupt:
        print("ended by Ctrl-C: nothing half-written is left, and the same command goes on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except PretrainError as error:
        _end(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            sys.exit(128 + signal.SIGPIPE)  # as a shell tells the end of any other program there
        if (readable := of_system(error)) is None:
            raise
        _end(readable)
    finally:
        if _reader_left():  # or Python would complain at its end of what it could not write
            os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)


def end_at_once(error: BaseException) -> NoReturn:
    """End this process with the message and the exit code of a program's error, without waiting for anything."""
    code: object = 1
    try:
        run_program(lambda: _raise(error))
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _raise(error: BaseException) -> NoReturn:
    raise error


def _reader_left() -> bool:
    """Say whether the standard output is a pipe without a reader; other pipes break for other reasons."""
    output = select.poll()
    output.register(STDOUT, 0)  # of which poll tells what is wrong alone
    return bool(output.poll(0))


def _end(error: PretrainError) -> NoReturn:
    print(f"{error.who} error: {error}", file=sys.stderr)
    sys.exit(EXIT_CODE)
