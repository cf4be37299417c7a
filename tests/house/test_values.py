"""Each key of the configuration with values of each wrong kind, generated from the schemas; and numbers as written."""

import math
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pretrain_llama import mappings
from pretrain_llama.configuration import load_run_file
from pretrain_llama.errors import ConfigError
from pretrain_llama.schemas import VALIDATOR, schema, types_of, validate

KINDS: dict[str, list[Any]] = {
    "string": ["x", ""],
    "integer": [7],
    "number": [0.3],
    "boolean": [True],
    "array": [["x"], [[]]],
    "object": [{"x": 1}, {"": {}}],
    "null": [None],
}
NEVER = [math.nan, math.inf, -math.inf, 1e308, -1e308, 10**400, -7, "1e5", "0x10", [[[None]]], {"a": {"b": [1]}}]
TEXTS = ["x", "64g", "azureml:x", "azureml://datastores/x"]
ONE_OF = {"expansions": "pieces", "weighting": "unimax"}  # a key that another one rules out


def example(inner: dict[str, Any], name: str = "") -> Any:
    """Return a value that a schema allows, with all keys that go together."""
    if "enum" in inner:
        return inner["enum"][0]
    kind = types_of(inner)[0]
    if kind == "object":
        made = {key: example(part, key) for key, part in inner.get("properties", {}).items()}
        if isinstance(others := inner.get("additionalProperties"), dict):
            made["x"] = example(others)
            if isinstance(made["x"], dict):
                made["x"].pop(ONE_OF.get(name, ""), None)
        return made
    if kind == "array":
        return [example(inner["items"])] * inner.get("minItems", 1)
    tried = {"string": TEXTS, "boolean": [True], "integer": [1, inner.get("minimum")], "number": [0.5, 1]}[kind]
    for value in tried:
        probe = {"properties": {"x": inner}}
        if not list(VALIDATOR(probe).iter_errors({"x": value})):
            return value
    raise AssertionError(inner)


def keys_of(inner: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the path and the schema of each key, at each depth."""
    parts = dict(inner.get("properties", {}))
    if isinstance(inner.get("additionalProperties"), dict):
        parts["x"] = inner["additionalProperties"]
    for key, part in parts.items():
        yield (*above, key), part
        yield from keys_of(part, (*above, key))


def placed(whole: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed = deepcopy(whole)
    inner = changed
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    if len(path) > 2 and path[-3] in ONE_OF and isinstance(inner, dict):
        kept = {"tokenizer": "x"} if path[-3] == "expansions" and path[-1] in ("pieces", "tokenizer") else {}
        if path[-3] == "weighting" or kept:
            inner.clear()
            inner.update(kept)
            if path[-1] == "tokenizer":
                inner["pieces"] = "x"
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize("name", ["config", "run", "corpora"])
def test_a_value_of_a_wrong_kind_is_refused_where_it_stands(name: str) -> None:
    whole = example(schema(name))
    validate(whole, name, "file")
    keys, tried = list(keys_of(schema(name))), 0
    for path, inner in keys:
        allowed = set(types_of(inner)) | ({"string"} if "enum" in inner else set())
        allowed |= {"integer"} if "number" in allowed else set()
        wrong = [value for kind, values in KINDS.items() if kind not in allowed for value in values]
        for value in wrong + [value for value in NEVER if not allowed & {kind_of(value), "object", "array"}]:
            with pytest.raises(ConfigError) as error:
                validate(placed(whole, path, value), name, "file")
            told = str(error.value)
            assert len(told) < 3000 and "  next:  " in told, told
            assert f"where: file: {'.'.join(path)}" in told or f"where: file: {'.'.join(path[:-1])}\n" in told, told
            tried += 1
    print(f"{name}: {tried} wrong values of {len(keys)} keys")
    assert tried > 10 * len(keys)


def kind_of(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    return {list: "array", dict: "object"}.get(type(value), "never")


@pytest.mark.parametrize("name", ["config", "run"])
def test_a_whole_number_may_be_written_in_any_way(name: str) -> None:
    whole = example(schema(name))
    counted = 0
    for path, inner in keys_of(schema(name)):
        if "integer" not in types_of(inner):
            continue
        whole_number = max(12, inner.get("minimum", 0))
        found = validate(placed(whole, path, float(whole_number)), name, "file")
        for key in path:
            found = found[key]
        assert (found, type(found)) == (whole_number, int), path
        with pytest.raises(ConfigError, match=r"\.5 is not a whole number from"):
            validate(placed(whole, path, whole_number + 0.5), name, "file")
        counted += 1
    assert counted >= 5


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1.2e+1", 12.0),
        ("6.0", 6.0),
        ("1_000", 1000),
        ("-3", -3),
        (".5", 0.5),
        ("5.", 5.0),
        ("0", 0),
        ("+7", 7),
        ("1e3", "1e3"),
        ("0o17", "0o17"),
        ("0.0", 0.0),
        ("-0.0e+5", 0.0),
        ("1_0.5", 10.5),
        ("0.1", 0.1),
        ("00.5", 0.5),
    ],
)
def test_numbers_are_read_as_written(tmp_path: Path, written: str, read: object) -> None:
    (tmp_path / "a.yaml").write_text(f"key: {written}\n")
    found = mappings.read(tmp_path / "a.yaml")["key"]
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize("written", ["010", "0x10", "0b11", "1:30", "1:30.5", "0_7", "-017", "190:20:30", "1.0e-400"])
def test_another_number_than_it_looks_is_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / "a.yaml").write_text(f"other: 1\nkey: {written}\n")
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        mappings.read(tmp_path / "a.yaml")


@pytest.mark.parametrize("written", ["1e-400", "1e999", "-1e999", "0.00001e-330", "5e-325"])
def test_a_number_that_would_be_none_is_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / "a.json").write_text(f'{{"a": {written}}}')
    with pytest.raises(ConfigError, match=r"is beyond what a number can be"):
        mappings.read(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": 0e-400, "b": 0.0, "c": -0.00e+999}')
    assert set(mappings.read(tmp_path / "a.json").values()) == {0}


def test_a_bomb_of_aliases_is_a_message(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    for text in ("\n".join(lines), "a: &a [*a]", "a: &a {b: *a}", "[" * 5000, "{a: " * 3000, "? [1]\n: 2"):
        (tmp_path / "run.yaml").write_text(text)
        with pytest.raises(ConfigError, match="next:"):
            load_run_file(tmp_path / "run.yaml")
