"""Group vendor files into corpora: one row of the table for the files of a folder, a language and a text key."""

import fnmatch
import glob
import itertools
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pretrain_llama.configuration import CONTROL
from pretrain_llama.errors import ConfigError, DataError, listed
from pretrain_llama.start.looking import Found, LeftOut, look_at
from pretrain_llama.start.naming import Naming, naming, stem_of
from pretrain_llama.stores import ASKED_AT_ONCE

MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer.model")


@dataclass(frozen=True)
class Row:
    """A row of the table of corpora, and the files that its source matches."""

    naming: Naming
    source: str
    text_key: str
    files: list[Found]

    @property
    def about(self) -> int:
        """Bytes of jsonl, about."""
        return sum(file.about for file in self.files)

    @property
    def written(self) -> str:
        """The row, as the table has it."""
        values = (self.naming.language, self.naming.domain, self.naming.subdomain, self.source, self.text_key)
        return "\t".join(f'"{value.replace(chr(34), 2 * chr(34))}"' if '"' in value else value for value in values)


@dataclass
class Looked:
    """What a folder holds: the rows for its files, and, by reason, the files that no row takes."""

    rows: list[Row] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def notes(self) -> list[str]:
        """What was left out and why, a line each."""
        return [f"{len(paths):,} left out, {why}: {listed(paths, shown=3)}" for why, paths in self.left_out.items()]


def look(folder: Path) -> Looked:
    """Look at all files below a folder.

    Raises:
        ConfigError: there is no such folder.
        DataError: no file holds texts.
    """
    if not folder.is_dir():
        raise ConfigError("no such folder", where=folder, action="give the folder that the vendor's files lie in")
    looked = Looked()
    found: list[Found] = []
    names: dict[Path, list[str]] = {}
    for place, files in _folders(folder, looked):
        names[place] = files
        with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
            found += filter(None, threads.map(lambda path: _try(path, looked), [place / name for name in files]))
    groups: dict[tuple[Path, Naming, str], list[Found]] = defaultdict(list)
    for file in found:
        parts = file.path.parent.relative_to(folder).parts
        groups[file.path.parent, naming(parts, stem_of(file.path.name)), file.text_key].append(file)
    taken: dict[str, int] = {}
    for (place, named, key), group in groups.items():
        for source, matched in _sources(place, group, names[place]):
            corpus = f"{named.language}_{named.domain}_{named.subdomain}".lower()
            taken[corpus] = taken.get(corpus, 0) + 1
            numbered = named if taken[corpus] == 1 else named.numbered(taken[corpus])
            looked.rows.append(Row(numbered, source, key, matched))
    if not looked.rows:
        raise DataError(
            "no file there holds texts, a document a line" + "".join(f"\n    {note}" for note in looked.notes),
            where=folder,
            action="deliver .jsonl, .json or .ndjson, also with .gz or .zst, or .parquet",
        )
    return looked


def _folders(folder: Path, looked: Looked) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folders that hold files, with the names of those; models, and what is hidden, are left out."""
    for place, folders, files in os.walk(folder):
        hidden = [name for name in (*folders, *files) if name.startswith(".")]
        if hidden:
            looked.left_out["hidden"] += [f"{place}/{name}" for name in sorted(hidden)]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if any(name in files for name in MODEL_FILES):
            looked.left_out["a model's folder"].append(place)
            folders[:] = []
            continue
        if visible := sorted(name for name in files if not name.startswith(".")):
            yield Path(place), visible


def _try(path: Path, looked: Looked) -> Found | None:
    try:
        if CONTROL.search(str(path)) or not _is_utf8(str(path)):
            raise LeftOut("a name that no table holds")
        if not stat.S_ISREG(path.stat().st_mode):
            raise LeftOut("no file, but a pipe, a socket or a device")
        return look_at(path)
    except LeftOut as reason:
        looked.left_out[str(reason)].append(_shown(path))
    except OSError as error:
        looked.left_out[(error.strerror or "cannot be read").lower()].append(_shown(path))
    return None


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: Path) -> str:
    """Return a path for a comment, in one line."""
    return repr(os.fsencode(path).decode(errors="backslashreplace"))[1:-1]


def _sources(place: Path, group: list[Found], neighbours: list[str]) -> Iterator[tuple[str, list[Found]]]:
    """Yield globs that match the files of a group and no others of their folder, with the files of each."""
    by_name = {file.path.name: file for file in group}
    endings: dict[str, list[str]] = defaultdict(list)
    for name in by_name:
        endings[name.removeprefix(stem_of(name))].append(name)
    first, last = min(by_name), max(by_name)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    beginning = glob.escape("".join(character for character, _ in same))
    for pattern in (*([f"*{ending}" for ending in endings] if len(endings) == 1 else []), "*.jsonl*", "*.json*", "*"):
        for start in dict.fromkeys(("", beginning)):
            if set(fnmatch.filter(neighbours, start + pattern)) == set(by_name):
                yield f"{glob.escape(str(place))}/{start}{pattern}", group
                return
    if len(endings) > 1:
        for names in endings.values():
            yield from _sources(place, [by_name[name] for name in names], neighbours)
        return
    for name, file in by_name.items():
        yield f"{glob.escape(str(place))}/{glob.escape(name)}", [file]
