"""The configuration, validated: closed schemas, and what no schema can say."""

import csv
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from pretrain_llama import mappings
from pretrain_llama.errors import ConfigError

COLUMNS = ("language", "domain", "subdomain", "source", "text_key")
SCHEMAS = Path(__file__).resolve().parents[2] / "config" / "schemas"


@dataclass(frozen=True)
class Corpus:
    """A row of the table of corpora; `place` is the file and line that it stands in."""

    language: str
    domain: str
    subdomain: str
    source: str
    text_key: str
    place: str

    @property
    def name(self) -> str:
        """{language}_{domain}_{subdomain}, which opens the names of its shards."""
        return f"{self.language}_{self.domain}_{self.subdomain}"


def load_config(path: str | Path) -> dict:
    """Return a config.yaml, validated and with defaults.

    Raises:
        ConfigError: no such file, no YAML, a key that stands there twice, or a value that the schema does not allow.
    """
    return validate(read_keys(path), "config", str(path))


def validate(value: Any, schema_name: str, place: str) -> Any:
    """Return the value with the schema's defaults filled in.

    Args:
        value: what a configuration file holds.
        schema_name: config, corpora or run.
        place: the file, for the message.

    Raises:
        ConfigError: the value does not follow the schema; names the key, the value and the next action.
    """
    schema = yaml.safe_load((SCHEMAS / f"{schema_name}.schema.yaml").read_text(encoding="utf-8"))
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(value))
    if errors:
        raise _config_error(min(errors, key=lambda error: list(map(str, error.absolute_path))), place)
    return _with_defaults(value, schema)


def _with_defaults(value: Any, schema: dict) -> Any:
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties") or {}
    filled = {key: inner["default"] for key, inner in properties.items() if "default" in inner} | value
    return {key: _with_defaults(inner, properties.get(key, others)) for key, inner in filled.items()}


def _config_error(error: jsonschema.ValidationError, place: str) -> ConfigError:
    where = ".".join(map(str, error.absolute_path))
    at = f"{place}: {where}" if where else place
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


def _check_columns(columns: list[str], path: str | Path) -> None:
    missing = [name for name in COLUMNS if name not in columns]
    if missing and (len(columns) == 1 or set(columns) < set(COLUMNS)):
        raise ConfigError(
            f"no column {missing[0]!r}",
            where=f"{path}:1",
            action="name the columns, separated by one tab: " + ", ".join(COLUMNS),
        )


def load_corpora(path: str | Path) -> list[Corpus]:
    """Return the table of corpora, in its order.

    Raises:
        ConfigError: no such file, a wrong or missing column, a bad value, or two rows whose shards would have
            the same names.
    """
    corpora: dict[str, Corpus] = {}
    rows = csv.DictReader(_lines(path), delimiter="\t")
    columns = list(rows.fieldnames or ())
    if columns:
        _check_columns(columns, path)
    for row in rows:
        place = f"{path}:{rows.line_num}"
        if None in row or None in row.values():
            raise ConfigError(
                f"a row with {len(columns)} columns expected",
                where=place,
                action="separate the columns by one tab: " + ", ".join(columns),
            )
        corpus = Corpus(**validate(row, "corpora", place), place=place)
        if corpus.name in corpora:
            raise ConfigError(
                f"two rows would make the same shards, {corpus.name}_split_…",
                where=f"{corpora[corpus.name].place} and {place}",
                action="give one of them another subdomain",
            )
        corpora[corpus.name] = corpus
    if not corpora:
        raise ConfigError("the table of corpora has no row", where=path, action="add a row for each corpus")
    return list(corpora.values())


def load_run(folder: str | Path) -> dict[str, Any]:
    """Return the run.yaml of a folder, of config/runs/ or a run folder, validated and with defaults.

    Raises:
        ConfigError: no such run, or a value that the schema does not allow.
    """
    return load_run_file(Path(folder) / "run.yaml")


def load_run_file(path: str | Path) -> dict[str, Any]:
    """Return a run.yaml, given by its own path; otherwise as `load_run`."""
    return validate(read_keys(path), "run", str(path))


def find_runs(names: list[str], folder: str | Path) -> list[str]:
    """Return the names of runs, with those that a name ending in * stands for in its place, sorted.

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


def check_choice(name: str, known: dict[str, Any], kind: str, place: str) -> None:
    """Raise ConfigError unless a name that a run gives stands in config.yaml."""
    if name not in known:
        raise ConfigError(
            f"unknown {kind} {name!r}", where=place, action=f"use one of those in config.yaml: {', '.join(known)}"
        )


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines(keepends=True)  # spreadsheets write the mark
    except FileNotFoundError:
        raise ConfigError("no such file", where=path, action="write it, or correct the path that names it") from None
    except UnicodeDecodeError:
        raise ConfigError("no text in UTF-8", where=path, action="save it as tab-separated text in UTF-8") from None
