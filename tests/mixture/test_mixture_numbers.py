"""Every number of a mixture: each wrong kind is refused by name, and within its range no arithmetic fails."""

import json
import math
import sys
from collections.abc import Callable
from math import fsum
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtures import RATIO, SIGNATURE, compute, compute_here, write
from pretrain_llama import mappings
from pretrain_llama.errors import ConfigError, DataError
from pretrain_llama.mixture import ledger, outputs
from pretrain_llama.mixture.mixture import TrainingLength
from pretrain_llama.mixture.numbers import LEAST, LEAST_TEMPERATURE, MOST, MOST_TOKENS, is_amount, is_rate
from pretrain_llama.run import sweeps
from pretrain_llama.schemas import SCHEMAS

LENGTH = TrainingLength(500, 20)
NUMBERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "a rate": lambda value: {"ratio": {"books": 1, "web": value, "news": 1}},
    "a rate of a subdomain": lambda value: {"ratio": RATIO | {"en": {"books": {"tales": value}, "web": 1}}},
    "a share": lambda value: {"shares": {"en": value, "ar": 1}},
    "a cap": lambda value: {"mixture": {"max_epochs": value}},
    "a cap of a domain": lambda value: {"mixture": {"max_epochs": {"en": {"web": value}}}},
    "a least probability": lambda value: {"mixture": {"min_probability": value}},
    "a temperature": lambda value: {
        "ratio": {"ar": {"news": 1}},
        "mixture": {"weighting": {"en": {"temperature": value}}},
    },
    "epochs of UniMax": lambda value: {
        "ratio": {"ar": {"news": 1}},
        "mixture": {"weighting": {"en": {"unimax": value}}},
    },
}
# How a message names the key of each.
PLACES = {
    "a rate": "ratio.json: web",
    "a rate of a subdomain": "ratio.json: en.books.tales",
    "a share": "shares.json: en",
    "a cap": "run.yaml: mixture.max_epochs",
    "a cap of a domain": "run.yaml: mixture.max_epochs: en.web",
    "a least probability": "run.yaml: mixture.min_probability",
    "a temperature": "run.yaml: mixture.weighting.en.temperature",
    "epochs of UniMax": "run.yaml: mixture.weighting.en.unimax",
}
WRONG = {
    "a text": "1",
    "a truth": True,
    "a lie": False,
    "nothing": None,
    "a list": [1],
    "NaN": math.nan,
    "infinity": math.inf,
    "negative": -1,
    "negative infinity": -math.inf,
    "over every range": math.nextafter(MOST, math.inf),
    "nearly too large for float64": 1e308,
    "too large for float64": 10**400,
}
TOO_SMALL = {"zero": 0, "negative zero": -0.0, "under every range": math.nextafter(LEAST, 0), "subnormal": 5e-324}


@pytest.mark.parametrize("kind", WRONG | TOO_SMALL)
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_of_a_wrong_kind_is_refused_by_name(tmp_path: Path, number: str, kind: str) -> None:
    value = (WRONG | TOO_SMALL)[kind]
    if number == "a least probability" and kind in TOO_SMALL:
        compute_here(tmp_path, LENGTH, **NUMBERS[number](value))
        return
    if "rate" in number and kind in ("zero", "negative zero"):
        assert any(
            left.reason == "rate 0" for left in compute_here(tmp_path, LENGTH, **NUMBERS[number](value)).left_out
        )
        return
    with pytest.raises(ConfigError) as raised:
        compute_here(tmp_path, LENGTH, **NUMBERS[number](value))
    problem, where, action = str(raised.value).split("\n  ")
    assert str(value)[:15] in problem
    assert where.startswith("where:") and where.endswith(PLACES[number])
    assert action.startswith("next:") and len(action) > 20


@pytest.mark.parametrize("value", [0.01, math.nextafter(LEAST_TEMPERATURE, 0)])
def test_a_temperature_that_takes_powers_out_of_float64_is_refused(tmp_path: Path, value: float) -> None:
    result = compute(tmp_path, **NUMBERS["a temperature"](value))
    assert result.returncode == 2
    assert f"configuration error: {value} is not a number from 0.1 to 1e15" in result.stderr
    assert "next:  T, from 0.1 to 1e15" in result.stderr


def test_rates_are_of_three_levels_at_most(tmp_path: Path) -> None:
    deep = compute(tmp_path, ratio=RATIO | {"en": {"books": {"tales": {"long": 1}}, "web": 1}})
    assert "{'long': 1} is no rate" in deep.stderr and "ratio.json: en.books.tales" in deep.stderr
    for file, text in {"ratio.json": '{"a":' * 100_000, "ratio.yaml": "{a: " * 5_000}.items():
        with pytest.raises(ConfigError, match="nested too deeply"):
            mappings.read(write(tmp_path / file, text))


def test_what_a_schema_allows_is_what_the_computation_does() -> None:
    schema = yaml.safe_load((SCHEMAS / "run.schema.yaml").read_text())["properties"]["mixture"]["properties"]
    weightings = schema["weighting"]["additionalProperties"]["properties"]
    for allowed in (schema["max_epochs"]["anyOf"][0], weightings["unimax"]):
        assert (allowed["minimum"], allowed["maximum"]) == (LEAST, MOST)
    assert (weightings["temperature"]["minimum"], weightings["temperature"]["maximum"]) == (LEAST_TEMPERATURE, MOST)
    assert is_amount(LEAST) and is_amount(MOST) and not is_amount(0) and is_rate(0)


@pytest.mark.parametrize("value", [*WRONG.values(), 0, 1])
def test_a_share_of_a_sweep_is_a_share(tmp_path: Path, value: Any) -> None:
    """1 leaves nothing to the other language."""
    base, runs = tmp_path / "base", tmp_path / "runs"
    write(base / "lang_prob.json", {"en": 3, "ar": 1})
    write(base / "run.yaml", (Path(__file__).parents[2] / "config/runs/demo/run.yaml").read_text())
    with pytest.raises(ConfigError, match=r"grid: lang_prob"):
        sweeps.write_points(base, [sweeps.Point("a", {"lang_prob.en": value})], runs)
    assert not runs.exists()


def test_counts_that_no_index_can_hold_are_refused(tmp_path: Path) -> None:
    for digits in (20, 400, 5_000):
        with pytest.raises(DataError, match="carries no counts"):
            compute_here(tmp_path, LENGTH, [SIGNATURE[0].replace("tc=500", f"tc={'9' * digits}")])
    compute_here(tmp_path, TrainingLength(MOST_TOKENS, 1))
    with pytest.raises(ConfigError, match=r"more than 9,223,372,036,854,775,807 tokens"):
        compute_here(tmp_path, TrainingLength(MOST_TOKENS // 2 + 1, 2))
    result = compute(tmp_path, "--total-tokens", 10**400)
    assert result.returncode == 2 and "correct its length" in result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("choices")


def extremes(least: float) -> st.SearchStrategy[float]:
    return st.sampled_from([least, 1, MOST]) | st.floats(least, MOST)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([1, 10**19 - 1]) | st.integers(1, 10**19 - 1), min_size=4, max_size=4),
    st.lists(extremes(LEAST), min_size=4, max_size=4),
    st.none()
    | st.fixed_dictionaries({"temperature": extremes(LEAST_TEMPERATURE)})
    | st.fixed_dictionaries({"unimax": extremes(LEAST)}),
    st.none() | extremes(LEAST),
    st.sampled_from([1, MOST_TOKENS]),
)
def test_no_number_within_its_range_makes_arithmetic_fail(
    folder: Path, tokens: list[int], values: list[float], weighting: dict | None, cap: float | None, length: int
) -> None:
    names = [f"{shard.split('_tc=')[0]}_tc={count}.bin" for shard, count in zip(SIGNATURE, tokens, strict=True)]
    books, web, news, share = values
    ratio = {"ar": {"news": news}} | ({} if weighting else {"en": {"books": books, "web": web}})
    mixture = ({"weighting": {"en": weighting}} if weighting else {}) | ({"max_epochs": cap} if cap else {})
    for shares in ({"en": share, "ar": 1}, '"proportional"'):
        try:
            found = compute_here(folder, TrainingLength(length, 1), names, ratio, shares, mixture)
        except ConfigError as error:
            assert "within their most epochs" in str(error) and (cap or weighting)
            continue
        probabilities = [shard.probability for shard in found.shards]
        assert len(probabilities) == 4 and fsum(probabilities) == pytest.approx(1, abs=1e-12)
        assert min(probabilities) > sys.float_info.min, "normal, and never 0, which Megatron refuses"
        assert sum(shard.sequences for shard in found.shards) == length
        written = [outputs.data_path_text(found, ""), outputs.csv_text(found), json.dumps(found.to_json())]
        assert not any(word in text for text in written for word in ("nan", "NaN", "inf,", "Infinity"))


def test_sums_and_the_table_hold_counts_beyond_an_int64_and_names_like_no_value(folder: Path) -> None:
    most = 10**19 - 1
    names = [f"{of}_split_0000_text_document_dc=1_sc=1_tc={most}.bin" for of in ("NA_null_x", "NA_null_y", "nan_007_x")]
    ratio = {"NA": {"null": 1}, "nan": {"007": 1}}
    found = compute_here(folder, TrainingLength(1000, 1), names, ratio, {"NA": 1, "nan": 1})
    assert list(ledger.sums(found, "domain")["tokens"].items()) == [("NA null", 2 * most), ("nan 007", most)]
    assert list(ledger.sums(found, "all")["wanted"]) == [1000]
    name = names[0].removesuffix(".bin")
    assert outputs.csv_text(found).splitlines()[1].startswith(f"{name},NA,null,x,1,{most},")
