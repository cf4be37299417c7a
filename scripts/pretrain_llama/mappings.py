"""Read JSON and YAML files that people write; a repeated key is refused, where parsers silently take the last."""

import json
import math
import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import yaml

from pretrain_llama.errors import ConfigError, shown

YAML_SUFFIXES = (".yaml", ".yml")
MOST_VALUES = 1_000_000  # of a YAML file: exclude lists and rates of all shards are far shorter


def read(path: str | Path) -> Any:
    """Return what a .json, .yaml or .yml file holds.

    Raises:
        ConfigError: no such file, neither JSON nor YAML, nested too deeply, a key that is there twice or is no text.
    """
    return _read(Path(path), parse_constant=None)


def read_object(path: str | Path) -> dict[str, Any]:
    """Return a file's content as `read` does, if it is an object: keys with values, all numbers finite.

    Raises:
        ConfigError: as `read`, or it is a list, a text or a number, or has NaN or Infinity, which are no JSON.
    """
    found = _read(Path(path), parse_constant=_no_number)
    if not isinstance(found, dict):
        raise ConfigError(f"no object, but {shown(found)}", where=path, action="fetch the file again, or correct it")
    return found


def _read(path: Path, parse_constant: Callable[[str], Any] | None) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix in YAML_SUFFIXES:
            return _load_yaml(text, path)
        return json.loads(
            text,
            object_pairs_hook=lambda pairs: _unique(pairs, path),
            parse_constant=parse_constant,
            parse_float=_float,
        )
    except FileNotFoundError:
        raise ConfigError("no such file", where=path, action="write it, or correct the path that names it") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        kind = "YAML" if path.suffix in YAML_SUFFIXES else "JSON"
        problem = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ConfigError(f"no {kind}: {problem}", where=path, action="correct it at the place named") from None


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number in JSON")


def _float(text: str) -> float:
    """Return a decimal number; one that float64 does not hold is refused, where parsers give 0 or infinity."""
    number = float(text)
    if math.isinf(number) or (number == 0 and re.search("[1-9]", re.split("[eE]", text)[0])):
        raise ValueError(f"{text[:40]} is beyond what a number can be, about 1e-308 to 1e308")
    return number


def _unique(pairs: list[tuple[Hashable, Any]], path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            # YAML 1.1 reads a bare no, the language, as False.
            raise ConfigError(f"key {key!r} is no text", where=path, action="write it in quotes")
        if key in found:
            raise ConfigError(f"key {key!r} stands there twice", where=path, action="keep one of the two")
        found[key] = value
    return found


def _load_yaml(text: str, path: Path) -> Any:
    loader = _loader(path)(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Return how many values a node holds, those that aliases repeat counted again; bounded, and in no circle."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        if (size := known[id(node)]) is None:
            raise yaml.YAMLError("an alias stands in what it names")
        return size
    known[id(node)] = None
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    size = 1 + sum(_check_size(part, known) for part in parts)
    if size > MOST_VALUES:
        raise yaml.YAMLError(f"over {MOST_VALUES:,} values, with those that aliases repeat")
    known[id(node)] = size
    return size


def _loader(path: Path) -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        """PyYAML's loader, which checks keys for repetition, and takes numbers as a person means them."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
        loader.flatten_mapping(node)
        pairs = [
            (loader.construct_object(key, True), loader.construct_object(value, True)) for key, value in node.value
        ]
        return _unique(pairs, path)

    def number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
        text = node.value.replace("_", "")
        if re.fullmatch(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)", text):
            return loader.construct_yaml_float(node)  # which no key may have: its own message says so
        if re.fullmatch(r"[-+]?(0|[1-9]\d*)", text):
            return int(text)
        if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text) and ("." in text or "e" in text.lower()):
            return _float(text)
        raise ConfigError(
            f"{node.value[:40]} is another number to YAML, {shown(yaml.safe_load(node.value))}",
            where=f"{path}:{node.start_mark.line + 1}",
            action="write it with the digits 0 to 9 and no 0 before them; in quotes, where a text is meant",
        )

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    for tag in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{tag}", number)
    return Loader
