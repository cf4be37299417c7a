"""JSON and YAML files that people write: a key that stands there twice is refused; parsers silently take the last."""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pretrain_llama.errors import ConfigError

YAML_SUFFIXES = (".yaml", ".yml")


def read(path: str | Path) -> Any:
    """Return what a .json, .yaml or .yml file holds.

    Raises:
        ConfigError: no such file, neither JSON nor YAML, a key that stands there twice, or one that is no text.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix in YAML_SUFFIXES:
            return yaml.load(text, _loader(path))
        return json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, path))
    except FileNotFoundError:
        raise ConfigError("no such file", where=path, action="write it, or correct the path that names it") from None
    except (ValueError, yaml.YAMLError) as error:
        kind = "YAML" if path.suffix in YAML_SUFFIXES else "JSON"
        problem = " ".join(str(error).split())
        raise ConfigError(f"no {kind}: {problem}", where=path, action="correct it at the place named") from None


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
        """PyYAML's, with keys checked."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
        loader.flatten_mapping(node)
        pairs = [
            (loader.construct_object(key, True), loader.construct_object(value, True)) for key, value in node.value
        ]
        return _unique(pairs, path)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return Loader
