"""A sweep: runs that differ in what a grid sets. Each point becomes a run's folder, and is trained as any other run."""

import itertools
import shutil
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pretrain_llama import configuration, mappings
from pretrain_llama.errors import ConfigError
from pretrain_llama.files import json_text, read_json, write_text

LANGUAGES = "lang_prob"
MARK = "sweep.yaml"  # in a point's folder: what the grid set, and that a sweep wrote it


@dataclass(frozen=True)
class Point:
    """A point of the grid: the name of its run, and a value by key."""

    run: str
    values: dict[str, Any]


def load(path: Path) -> tuple[str, list[Point]]:
    """Return the run that a sweep varies, and its points.

    Raises:
        ConfigError: the sweep does not follow its schema, or two points would have one name.
    """
    sweep = configuration.validate(mappings.read(path), "sweep", str(path))
    keys = list(sweep["grid"])
    points = [
        Point(f"{path.stem}.{_name(dict(zip(keys, values, strict=True)))}", dict(zip(keys, values, strict=True)))
        for values in itertools.product(*sweep["grid"].values())
    ]
    if len({point.run for point in points}) < len(points):
        raise ConfigError(
            "two points would have the same name: runs are named by the last part of a key and its value",
            where=f"{path}: grid",
            action="leave out one of the keys that end alike, or of the values that are written alike",
        )
    return sweep["run"], points


def _name(values: dict[str, Any]) -> str:
    texts = (
        f"{key.rpartition('.')[2]}-{value:g}" if isinstance(value, float) else f"{key.rpartition('.')[2]}-{value}"
        for key, value in values.items()
    )
    return "_".join(texts).replace("+", "")


def write_point(base: Path, point: Point, folder: Path) -> None:
    """Write a point's folder: a copy of the base run's, with what the grid sets.

    Args:
        base: folder of the run that is varied.
        point: what to set.
        folder: to write; one that a sweep wrote before is written anew.

    Raises:
        ConfigError: a key or value is none of run.yaml or lang_prob.json; the folder is no sweep's.
    """
    if folder.exists() and not (folder / MARK).exists():
        raise ConfigError(
            "a run of this name is there, which no sweep wrote", where=folder, action="rename it, or the sweep's file"
        )
    run = yaml.safe_load((base / "run.yaml").read_text(encoding="utf-8"))
    shares = {}
    for key, value in point.values.items():
        first, _, rest = key.partition(".")
        if first == LANGUAGES:
            shares[rest] = value
        else:
            run = _set(run, key.split("."), value)
    configuration.validate(deepcopy(run), "run", f"{folder / 'run.yaml'}")
    languages = _with_shares(base / f"{LANGUAGES}.json", shares) if shares else None
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns(MARK))
    write_text(folder / "run.yaml", yaml.safe_dump(run, sort_keys=False, allow_unicode=True))
    if languages:
        write_text(folder / f"{LANGUAGES}.json", json_text(languages))
    write_text(folder / MARK, yaml.safe_dump({"varies": base.name, "sets": point.values}, sort_keys=False))


def _set(value: Any, keys: list[str], new: Any) -> Any:
    if not keys:
        return new
    inner = value if isinstance(value, dict) else {}
    return inner | {keys[0]: _set(inner.get(keys[0]), keys[1:], new)}


def _with_shares(path: Path, shares: dict[str, Any]) -> dict[str, float]:
    """Return the shares of all languages; those that the grid does not set keep their proportions to each other."""
    before = read_json(path)
    unknown = [language for language in shares if language not in before]
    if unknown:
        raise ConfigError(
            f"language {unknown[0]!r} has no share in the run that is varied",
            where=path,
            action=f"use one of {', '.join(before)}",
        )
    others = {language: share for language, share in before.items() if language not in shares}
    left = 1 - sum(shares.values())
    if min(shares.values()) <= 0 or (left <= 0 if others else abs(left) > 1e-9):
        raise ConfigError(
            f"the shares {shares} leave {left:g} to {', '.join(others) or 'no other language'}",
            where=f"grid: {LANGUAGES}",
            action="give shares above 0 that sum to less than 1, or to 1 where every language has one",
        )
    total = sum(others.values())
    return {language: shares.get(language, left * share / total) for language, share in before.items()}
