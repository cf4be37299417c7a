"""Read and validate the configuration: closed schemas, and rules that no schema can express."""

import csv
import difflib
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from pretrain_llama import mappings
from pretrain_llama.errors import ConfigError
from pretrain_llama.settings import ConfigSettings, RunSettings

COLUMNS = ("language", "domain", "subdomain", "source", "text_key")
OPTIONAL_COLUMN = "duplicates"
LONGEST_NAME = 128  # of a corpus: a file name has 255 bytes, and counts and endings take about 100
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
QUOTES = (
    'close the quote, or double each " in quotes; a value without quotes may hold them anywhere but at its beginning'
)
SCHEMAS = Path(__file__).resolve().parents[2] / "config" / "schemas"


def _is_finite(checker: jsonschema.TypeChecker, value: Any) -> bool:
    return DRAFT.TYPE_CHECKER.is_type(value, "number") and -math.inf < value < math.inf


# YAML writes .nan and .inf, JSON NaN and Infinity: NaN is neither below a minimum nor above a maximum.
DRAFT = jsonschema.Draft202012Validator
VALIDATOR = jsonschema.validators.extend(DRAFT, type_checker=DRAFT.TYPE_CHECKER.redefine("number", _is_finite))


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


def validate(value: Any, schema_name: str, where: str) -> Any:
    """Return the value with the schema's defaults filled in.

    Args:
        value: what a configuration file holds.
        schema_name: config, corpora or run.
        where: the file, for the message.

    Raises:
        ConfigError: the value does not follow the schema; names the key, the value and the next action.
    """
    schema = _schema(schema_name)
    errors = list(VALIDATOR(schema).iter_errors(value))
    if errors:
        raise _config_error(min(errors, key=lambda error: list(map(str, error.absolute_path))), where)
    return _with_defaults(value, schema)


@cache
def _schema(name: str) -> dict[str, Any]:
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def _with_defaults(value: Any, schema: dict) -> Any:
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties") or {}
    filled = {key: inner["default"] for key, inner in properties.items() if "default" in inner} | value
    return {key: _with_defaults(inner, properties.get(key, others)) for key, inner in filled.items()}


def _config_error(error: jsonschema.ValidationError, where: str) -> ConfigError:
    key = ".".join(map(str, error.absolute_path))
    at = f"{where}: {key}" if key else where
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(unknown, known, 1)
        action = f"write {close[0]!r}" if close else f"remove it; the keys are {', '.join(known)}"
        return ConfigError(f"unknown key {unknown!r}", where=at, action=action)
    if error.validator == "required":
        return ConfigError(error.message, where=at, action="add the key")
    action = error.schema.get("description", "give a value that the schema allows")
    expected = str(error.validator_value)
    if (
        isinstance(error.instance, str)
        and _is_number(error.instance)
        and ("number" in expected or "integer" in expected)
    ):
        action = "YAML reads this as text: write the exponent as in 3.0e-3, and no quotes"
    problem = error.message
    if error.validator in ("anyOf", "oneOf"):  # of which the message speaks of schemas
        problem = f"{error.instance!r} is no value that this key may have"
    return ConfigError(problem, where=at, action=action)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
    """Yield the rows of the table that are not blank, its columns first, and the file and line of each."""
    # Not strict, csv takes an unclosed quote, and all that follows it, for one value.
    rows = csv.reader(io.StringIO(_text(path), newline=""), delimiter="\t", strict=True)
    while True:
        where = f"{path}:{rows.line_num + 1}"
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise ConfigError(f"no row of a table: {error}", where=where, action=QUOTES) from None
        if odd := next((value for value in row if CONTROL.search(value)), None):
            raise ConfigError(
                f"{odd[:200]!r} goes over the end of a line or column, or holds what no text does",
                where=where,
                action=QUOTES,
            )
        if row:
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
