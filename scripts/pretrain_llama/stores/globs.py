"""Match globs against paths as text, by the rules of glob.glob; Python has this from 3.13 on (glob.translate)."""

import fnmatch
import re
from collections.abc import Callable

from pretrain_llama.errors import ConfigError

Component = Callable[[str], object]


def beginning(pattern: str) -> str:
    """Return the part of a glob before its first wildcard, with which all that it matches begins."""
    return re.split(r"[*?[]", pattern, maxsplit=1)[0]


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a function that says whether a path matches a glob.

    They are compared part by part between slashes: the path of a blob, az://container/…, as that of a file. ** descends
    into folders. Hidden files and folders, whose names begin with a dot, need a dot in the glob.
    """
    start = beginning(pattern)
    parts = components(pattern)
    return lambda path: path.startswith(start) and _matches(path.split("/"), parts)


def components(pattern: str) -> list[str | Component | None]:
    """Return the parts of a glob between slashes: a name as it is, a function that tests one, or None for **."""
    return [None if part == "**" else _component(part) for part in pattern.split("/")]


def _component(part: str) -> str | Component:
    """Return a part of a glob that is a name as it is, else a function that says whether a name matches it."""
    if not re.search(r"[*?[]", part):
        return part
    match = re.compile(fnmatch.translate(part)).match
    return match if part.startswith(".") else lambda name: not name.startswith(".") and match(name)


def is_match(component: str | Component | None, name: str) -> bool:
    """Say whether a name matches a part of a glob; ** takes each that is not hidden."""
    if component is None:
        return not name.startswith(".")
    return name == component if isinstance(component, str) else bool(component(name))


def _matches(names: list[str], components: list[str | Component | None]) -> bool:
    """Say whether names match a glob's components; None, which is **, stands for any number of folders."""
    for index, component in enumerate(components):
        if component is None:
            return _matches_below(names[index:], components[index + 1 :])
        if index == len(names) or not is_match(component, names[index]):
            return False
    return len(names) == len(components)


def _matches_below(names: list[str], components: list[str | Component | None]) -> bool:
    """Say whether what is left of a path matches what follows ** in a glob; at its end, ** takes all files below."""
    shown = next((index for index, name in enumerate(names) if name.startswith(".")), len(names))
    if not components:
        return bool(names) and shown == len(names)
    return any(_matches(names[index:], components) for index in range(min(shown, len(names) - 1) + 1))


def no_match(pattern: str, where: str) -> ConfigError:
    """Return the error that a glob matches nothing; where: it was given."""
    return ConfigError(
        f"source {pattern!r} matches no file", where=where, action="correct the glob, or fetch the vendor's files"
    )
