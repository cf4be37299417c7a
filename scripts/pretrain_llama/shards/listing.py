"""Read and write a recorded listing: a TSV table of the vendor's files, for work without the store.

The columns are the fields of `stores.SourceFile`, in their order, named in the first line. A path holds no tab and no
line break; bytes of it that are no UTF-8 are kept as they are.
"""

import re
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from pretrain_llama import files
from pretrain_llama.errors import ConfigError, DataError
from pretrain_llama.stores import SourceFile, globs

COLUMNS: dict[str, Any] = {field.name: field.type for field in fields(SourceFile)}
HEADER = "\t".join(COLUMNS)
EARLIER_HEADER = HEADER.removesuffix("\tcontent_md5")  # of version 0.3
LIST_ANEW = "list the store anew, or correct the line"


def write(path: str | Path, listing: Iterable[SourceFile]) -> None:
    """Record a listing, whole or not at all.

    Raises:
        DataError: a file's path holds a tab or a line break, or stands there twice.
    """
    seen: set[str] = set()
    with files.replacing(path) as output:
        output.write(f"{HEADER}\n".encode())
        for number, file in enumerate(listing, 2):
            if re.search(r"[\t\r\n]", file.path):
                raise DataError(
                    f"path {file.path!r} holds a tab or a line break", where=path, action="rename the vendor's file"
                )
            _check_new(file.path, seen, f"{path}:{number}")
            output.write(("\t".join(map(str, astuple(file))) + "\n").encode(errors="surrogateescape"))


def read(path: str | Path) -> list[SourceFile]:
    """Return a recorded listing, in its order.

    Raises:
        ConfigError: no such file.
        DataError: another header, a line with another number of columns, a number that is none, a negative size, or a
            path that stands there twice.
    """
    try:
        text = Path(path).read_bytes().decode(errors="surrogateescape")
    except FileNotFoundError:
        raise ConfigError(
            "no such listing", where=path, action="record one, or correct the path that names it"
        ) from None
    header, *lines = text.removesuffix("\n").split("\n")
    if header not in (HEADER, EARLIER_HEADER):
        raise DataError(
            f"the columns are {header[:200]!r}, not {HEADER!r}",
            where=f"{path}:1",
            action="list the store anew with these programs, or correct the first line",
        )
    seen: set[str] = set()
    listing = []
    for number, line in enumerate(lines, 2):
        file = _parse(line, header.split("\t"), f"{path}:{number}")
        _check_new(file.path, seen, f"{path}:{number}")
        listing.append(file)
    return listing


def _parse(line: str, columns: list[str], where: str) -> SourceFile:
    values = line.split("\t")
    if len(values) != len(columns):
        raise DataError(
            f"{len(values)} columns, not {len(columns)}, in {line[:200]!r}",
            where=where,
            action=f"separate the columns by one tab: {', '.join(columns)}",
        )
    try:
        file = SourceFile(*[convert(value) for convert, value in zip(COLUMNS.values(), values, strict=False)])
    except ValueError as error:
        raise DataError(f"no number: {error}", where=where, action=LIST_ANEW) from None
    if file.size_bytes < 0:
        raise DataError(f"{file.size_bytes} is no size in bytes of {file.path}", where=where, action=LIST_ANEW)
    return file


def _check_new(path: str, seen: set[str], where: str) -> None:
    if path in seen:
        raise DataError(f"{path} stands there twice", where=where, action="list the store anew, or remove the line")
    seen.add(path)


def matching(listing: Iterable[SourceFile], pattern: str, where: str) -> list[SourceFile]:
    """Return the files of a listing that a glob matches, sorted by path, as `stores.list_files` would of the store.

    Args:
        listing: the files.
        pattern: the glob; ** descends into folders.
        where: the glob was given, for the message.

    Raises:
        ConfigError: it matches no file.
    """
    matches = globs.matcher(pattern)
    found = [file for file in listing if matches(file.path)]
    if not found:
        raise ConfigError(
            f"source {pattern!r} matches no file of the listing",
            where=where,
            action="correct the glob, or record a listing of the store that it names",
        )
    return sorted(found, key=lambda file: file.path)
