"""Read JSON and YAML files that people write; a repeated key is refused, where parsers silently take the last."""

import json
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import yaml

from pretrain_llama.errors import ConfigError, shown

YAML_SUFFIXES = (".yaml", ".yml")


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
            return yaml.load(text, _loader(path))
        return json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, path), parse_constant=parse_constant)
    except FileNotFoundError:
        raise ConfigError("no such file", where=path, action="write it, or correct the path that names it") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        kind = "YAML" if path.suffix in YAML_SUFFIXES else "JSON"
        problem = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ConfigError(f"no {kind}: {problem}", where=path, action="correct it at the place named") from None


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number in JSON")


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


def _loader(path: Path) -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        """PyYAML's loader, which checks keys for repetition."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
        loader.flatten_mapping(node)
        pairs = [
            (loader.construct_object(key, True), loader.construct_object(value, True)) for key, value in node.value
        ]
        return _unique(pairs, path)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return Loader
