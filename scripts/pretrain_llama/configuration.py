"""Read and validate the configuration: closed schemas, and rules that no schema can express."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama import mappings
from pretrain_llama.errors import SHOWN_CHARACTERS, ConfigError
from pretrain_llama.schemas import validate
from pretrain_llama.settings import ConfigSettings, RunSettings

COLUMNS = ("language", "domain", "subdomain", "source", "text_key")
OPTIONAL_COLUMN = "duplicates"
LONGEST_NAME = 128  # of a corpus: a file name has 255 bytes, and counts and endings take about 100
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LINE_END = re.compile(r"\r\n|\n|\r")
LONGEST_VALUE = 8192  # characters; a path has 4,096 bytes


@dataclass(frozen=True)
class Corpus:
    """A row of the table of corpora; `where` is the file and line that it stands in.

    `duplicates` is refuse or allow, or empty where the configuration's counts.
    """

    language: str
    domain: str
    subdomain: str
    source: str
    text_key: str
    where: str
    duplicates: str = ""

    @property
    def name(self) -> str:
        """{language}_{domain}_{subdomain}, which opens the names of its shards."""
        return f"{self.language}_{self.domain}_{self.subdomain}"


def load_config(path: str | Path) -> ConfigSettings:
    """Return a config.yaml, validated and with defaults.

    Raises:
        ConfigError: no such file, no YAML, a key that stands there twice, or a value that the schema does not allow.
    """
    return validate(read_keys(path), "config", str(path))


def read_keys(path: str | Path) -> dict[str, Any]:
    """Return what a YAML file of the configuration holds.

    Raises:
        ConfigError: no such file, no YAML, no keys in it, or one that stands there twice.
    """
    found = mappings.read(path)
    if not isinstance(found, dict):
        raise ConfigError("no keys in the file", where=path, action="write them as key: value, a line each")
    return found


def load_corpora(path: str | Path) -> list[Corpus]:
    """Return the table of corpora, in its order.

    Raises:
        ConfigError: no such file, a wrong, missing or repeated column, a bad value, or two rows whose shards would have
            the same names, or names that differ in capitals alone.
    """
    corpora: dict[str, Corpus] = {}
    columns: list[str] = []
    for row, where in _rows(path):
        if not columns:
            _check_columns(row, path)
            columns = row
            continue
        if len(row) != len(columns):
            raise ConfigError(
                f"a row with {len(columns)} columns expected",
                where=where,
                action="separate the columns by one tab: " + ", ".join(columns),
            )
        given = {
            column: value for column, value in zip(columns, row, strict=True) if value or column != OPTIONAL_COLUMN
        }
        corpus = Corpus(**validate(given, "corpora", where), where=where)
        _check_name(corpus, corpora)
        corpora[corpus.name.lower()] = corpus
    if not corpora:
        raise ConfigError("the table of corpora has no row", where=path, action="add a row for each corpus")
    return list(corpora.values())


def _rows(path: str | Path) -> Iterator[tuple[list[str], str]]:
    """Yield the rows of the table that are not blank, its columns first, and the file and line of each.

    A row is a line and a column ends at a tab: quotes are characters like others.
    """
    for number, line in enumerate(LINE_END.split(_text(path)), 1):
        row, where = line.split("\t"), f"{path}:{number}"
        if odd := next((value for value in row if CONTROL.search(value) or len(value) > LONGEST_VALUE), None):
            raise ConfigError(
                f"{odd[:SHOWN_CHARACTERS]!r} has {len(odd):,} characters, or holds what no text does",
                where=where,
                action=f"give each column a text of at most {LONGEST_VALUE:,} characters, without control characters",
            )
        if line:
            yield row, where


def _check_columns(columns: list[str], path: str | Path) -> None:
    missing = [name for name in COLUMNS if name not in columns]
    if missing and (len(columns) == 1 or set(columns) < set(COLUMNS)):
        raise ConfigError(
            f"no column {missing[0]!r}",
            where=f"{path}:1",
            action="name the columns, separated by one tab: " + ", ".join(COLUMNS),
        )
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"column {twice!r} stands there twice", where=f"{path}:1", action="keep one of the two")


def _check_name(corpus: Corpus, corpora: dict[str, Corpus]) -> None:
    """Check that a corpus has a name of its own, also where file systems do not tell capitals from small letters."""
    if len(corpus.name) > LONGEST_NAME:
        raise ConfigError(
            f"{corpus.name[:40]}… has {len(corpus.name)} characters, and the files of its shards have longer names yet",
            where=corpus.where,
            action=f"shorten language, domain and subdomain to {LONGEST_NAME} in all",
        )
    other = corpora.get(corpus.name.lower())
    if other is None:
        return
    where = f"{other.where} and {corpus.where}"
    if other.name == corpus.name:
        raise ConfigError(
            f"two rows would make the same shards, {corpus.name}_split_…",
            where=where,
            action="give one of them another subdomain",
        )
    raise ConfigError(
        f"{other.name} and {corpus.name} differ in capitals alone, which not every file system tells apart",
        where=where,
        action="write both alike, and give one of them another subdomain",
    )


def load_run(folder: str | Path) -> RunSettings:
    """Return the run.yaml of a folder, of config/runs/ or a run folder, validated and with defaults.

    Raises:
        ConfigError: no such run, or a value that the schema does not allow.
    """
    return load_run_file(Path(folder) / "run.yaml")


def load_run_file(path: str | Path) -> RunSettings:
    """Return a run.yaml, given by its own path; otherwise as `load_run`."""
    keys = read_keys(path)
    run: RunSettings = validate(keys, "run", str(path))
    if run["trainer"] == "megatron_lm" and "distributed_optimizer" not in keys.get("parallel", {}):
        run["parallel"]["distributed_optimizer"] = True
    return run


def find_runs(names: list[str], folder: str | Path) -> list[str]:
    """Return the names of runs, sorted; a name that ends in * is replaced by those that it stands for.

    Args:
        names: `runs` of config.yaml.
        folder: of the runs.

    Raises:
        ConfigError: no run's name begins like that.
    """
    found = []
    for name in names:
        matching = sorted(path.name for path in Path(folder).glob(name)) if name.endswith("*") else [name]
        if not matching:
            raise ConfigError(
                f"no run is called {name}", where=folder, action="write the runs of the sweep first: write_sweep.py"
            )
        found += [run for run in matching if run not in found]
    return found


def check_choice(name: str, known: dict[str, Any], kind: str, where: str) -> None:
    """Raise ConfigError unless a name that a run gives stands in config.yaml."""
    if name not in known:
        raise ConfigError(
            f"unknown {kind} {name!r}", where=where, action=f"use one of those in config.yaml: {', '.join(known)}"
        )


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")  # spreadsheets write the mark
    except FileNotFoundError:
        raise ConfigError("no such file", where=path, action="write it, or correct the path that names it") from None
    except UnicodeDecodeError:
        raise ConfigError("no text in UTF-8", where=path, action="save it as tab-separated text in UTF-8") from None
