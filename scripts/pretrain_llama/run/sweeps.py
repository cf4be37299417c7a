"""Sweeps: write a run's folder for each point of a grid, to be trained as any other run."""

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pretrain_llama import configuration, mappings
from pretrain_llama.errors import ConfigError
from pretrain_llama.files import json_text, replacing_folder, write_text
from pretrain_llama.mixture import choices
from pretrain_llama.mixture.languages import load_shares
from pretrain_llama.mixture.numbers import is_amount

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
    sweep = configuration.validate(configuration.read_keys(path), "sweep", str(path))
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


def write_points(base: Path, points: list[Point], runs: Path) -> None:
    """Write the folder of each point, a copy of the base run's with what the grid sets; all of them, or none.

    Args:
        base: folder of the run that is varied.
        points: of the grid.
        runs: folder to write to; what a sweep wrote there before is written anew.

    Raises:
        ConfigError: a key or value is none of run.yaml or lang_prob; a run of this name is there that is no sweep's.
    """
    files = [_changed_files(base, point, runs / point.run) for point in points]
    for point, changed in zip(points, files, strict=True):
        with replacing_folder(runs / point.run) as beside:
            shutil.copytree(base, beside, ignore=shutil.ignore_patterns(MARK), dirs_exist_ok=True)
            for name, value in changed.items():
                text = json_text(value) if name.endswith(".json") else yaml.safe_dump(value, sort_keys=False)
                write_text(beside / name, text)


def _changed_files(base: Path, point: Point, folder: Path) -> dict[str, Any]:
    """Return what the files of a point hold that are not those of the base run, by name."""
    if folder.exists() and not (folder / MARK).exists():
        raise ConfigError(
            "a run of this name is there, which no sweep wrote", where=folder, action="rename it, or the sweep's file"
        )
    run, shares = mappings.read(base / "run.yaml"), {}
    for key, value in point.values.items():
        first, _, language = key.partition(".")
        if first == LANGUAGES:
            shares[language] = value
        else:
            run = _set(run, key.split("."), value)
    configuration.validate(run, "run", f"{folder / 'run.yaml'}")
    changed = {"run.yaml": run, MARK: {"varies": base.name, "sets": point.values}}
    if shares:
        path = choices.find(base, LANGUAGES)
        changed[path.name] = _with_shares(path, shares)
    return changed


def _set(value: Any, keys: list[str], new: Any) -> Any:
    if not keys:
        return new
    inner = value if isinstance(value, dict) else {}
    return inner | {keys[0]: _set(inner.get(keys[0]), keys[1:], new)}


def _with_shares(path: Path, shares: dict[str, Any]) -> dict[str, float]:
    """Return the shares of all languages; those that the grid does not set keep their proportions to each other."""
    before = load_shares(path) or {}
    unknown = [language for language in shares if language not in before]
    if unknown:
        raise ConfigError(
            f"language {unknown[0]!r} has no share in the run that is varied",
            where=path,
            action=f"use one of {', '.join(before)}" if before else "give every language a number there",
        )
    for language, share in shares.items():
        if not is_amount(share):
            raise ConfigError(
                f"{share!r} is no share",
                where=f"grid: {LANGUAGES}.{language}",
                action="give a number above 0, and below 1 where other languages have shares, too",
            )
    others = {language: share for language, share in before.items() if language not in shares}
    left = 1 - sum(shares.values())
    if left <= 0 if others else abs(left) > 1e-9:
        raise ConfigError(
            f"the shares {shares} leave {left:g} to {', '.join(others) or 'no other language'}",
            where=f"grid: {LANGUAGES}",
            action="give shares above 0 that sum to less than 1, or to 1 where every language has one",
        )
    total = sum(others.values())
    return {language: shares.get(language, left * share / total) for language, share in before.items()}
