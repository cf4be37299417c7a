"""What a mixture leaves out counts nowhere in it: it is the mixture of the same shards without them, by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixtures import SIGNATURE, compute, compute_here, probabilities, written
from pretrain_llama.errors import ConfigError
from pretrain_llama.mixture.mixture import Mixture, TrainingLength

LENGTH = TrainingLength(10**6, 4096)
LANGUAGES, DOMAINS = ["en", "ar"], ["books", "web", "code"]


def name(corpus: str, number: int, tokens: int) -> str:
    return f"{corpus}_x_split_{number:04d}_text_document_dc=1_sc=1_tc={tokens}.bin"


def named(corpus: str, sizes: list[int]) -> list[str]:
    return [name(corpus, number, tokens) for number, tokens in enumerate(sizes)]


def share(mixture: Mixture, domain: str) -> float:
    return sum(shard.probability for shard in mixture.shards if shard.name.shard.domain == domain)


def test_unimax_makes_rates_of_what_is_sampled(tmp_path: Path) -> None:
    names = named("en_web", [1_000_000] * 10) + named("en_books", [1_000_000, *[60_000] * 7])
    mixture = {"min_probability": 0.03, "weighting": {"en": {"unimax": 10_000}}}
    found = compute_here(tmp_path, LENGTH, names, {}, {"en": 1}, mixture)
    assert len(found.left_out) == 7 and len(found.shards) == 11
    assert (share(found, "web"), share(found, "books")) == pytest.approx((0.5, 0.5), abs=1e-12)


def test_temperature_makes_rates_of_what_is_sampled(tmp_path: Path) -> None:
    names = named("en_web", [500_000, *[5_000] * 100]) + named("en_books", [500_000])
    mixture = {"min_probability": 0.004, "weighting": {"en": {"temperature": 2}}}
    found = compute_here(tmp_path, TrainingLength(10**6, 1), names, {}, {"en": 1}, mixture)
    assert len(found.left_out) == 100
    assert (share(found, "web"), share(found, "books")) == pytest.approx((0.5, 0.5), abs=1e-12)
    assert {shard.rate for shard in found.shards} == {1.0}


def test_proportional_shares_are_of_what_is_sampled(tmp_path: Path) -> None:
    names = named("en_web", [500_000, *[100] * 100]) + named("ar_web", [500_000])
    mixture = {"min_probability": 0.001}
    found = compute_here(tmp_path, TrainingLength(10**6, 1), names, {"web": 1}, '"proportional"', mixture)
    assert [shard.probability for shard in found.shards] == [0.5, 0.5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("choices")


@pytest.fixture(scope="module")
def rounds() -> Iterator[set[str]]:
    """What the examples were; all of these have to be among them."""
    kinds: set[str] = set()
    yield kinds
    assert kinds == {"nothing left out", "one round", "several rounds", "a weighting"}


shard = st.tuples(st.sampled_from(LANGUAGES), st.sampled_from(DOMAINS), st.integers(0, 30), st.integers(1, 10**6))
WEIGHTINGS = st.fixed_dictionaries({"temperature": st.floats(0.2, 20)}) | st.fixed_dictionaries(
    {"unimax": st.just(1e9)}
)

# Without its 40 crumbs English has half its share, and then another shard of it is one.
TWO_ROUNDS = [("en", "books", n, 1_000) for n in range(40)] + [
    ("en", "books", 40, 10_000),
    ("en", "web", 0, 9_600),
    ("en", "web", 1, 400),
    ("ar", "web", 0, 20_000),  # of rate 5
]


@settings(deadline=None, max_examples=50)
@example(TWO_ROUNDS, {"en": {"temperature": 1e9}}, True, None, 0.004)
@given(
    st.lists(shard, min_size=1, max_size=25, unique_by=lambda drawn: drawn[:3]),
    st.dictionaries(st.sampled_from(LANGUAGES), WEIGHTINGS),
    st.booleans(),
    st.none() | st.floats(1.0, 3.0),
    st.floats(0, 0.15),
)
def test_crumbs_left_out_are_as_if_they_were_excluded_by_name(
    folder: Path,
    rounds: set[str],
    drawn: list[tuple],
    weighting: dict,
    proportional: bool,
    over_least: float | None,
    least: float,
) -> None:
    names = [name(f"{language}_{domain}", number, tokens) for language, domain, number, tokens in drawn]
    there = {language for language, *_ in drawn}
    rates = {language: dict.fromkeys(DOMAINS, 2) | {"web": 5} for language in there - weighting.keys()}
    shares = '"proportional"' if proportional else {"en": 3, "ar": 1}
    length = TrainingLength(10**6, 1)
    mixture: dict = {"weighting": weighting, "min_probability": least}
    if over_least:
        mixture["max_epochs"] = {"code": over_least * length.tokens / sum(tokens for *_, tokens in drawn)}

    def of(excluded: list[str], **changed: float) -> Mixture:
        return compute_here(folder, length, names, rates, shares, mixture | changed, excluded)

    try:
        found = of([])
    except ConfigError as error:  # a language lost its last shard, or its caps leave too little
        assert "below min_probability" in str(error) or "too few" in str(error)
        return
    crumbs = [str(left.name) for left in found.left_out if "is below" in left.reason]
    assert of(crumbs).shards == of(crumbs, min_probability=0.0).shards == found.shards
    assert all(sampled.probability >= least for sampled in found.shards)
    in_the_first = [sampled for sampled in of([], min_probability=0.0).shards if sampled.probability < least]
    kind = "several rounds" if len(in_the_first) < len(crumbs) else "one round" if crumbs else "nothing left out"
    rounds |= {kind} | ({"a weighting"} if crumbs and weighting else set())


WEIGHTED = {"mixture": {"weighting": {"en": {"temperature": 2}}}}


def test_a_rate_of_0_for_all_languages_leaves_a_domain_out_of_a_weighting(tmp_path: Path) -> None:
    result = compute(tmp_path, ratio={"ar": {"news": 1}, "web": 0}, **WEIGHTED)
    assert result.returncode == 0, result.stderr
    assert not any("web" in shard for shard in probabilities(tmp_path))
    assert [(left["name"].split("_text")[0], left["reason"]) for left in written(tmp_path)["left_out"]] == [
        ("en_web_crawl_split_0000", "rate 0")
    ]


def test_a_rate_of_1_for_all_languages_says_nothing_else_than_a_weighting(tmp_path: Path) -> None:
    for number, ratio in enumerate([{"ar": {"news": 1}}, {"news": 1, "web": 1, "books": {"tales": 1.0}}]):
        ratio = ratio if number else {"ar": {"news": 1}}
        assert compute(tmp_path / str(number), ratio=ratio, **WEIGHTED).returncode == 0
    assert probabilities(tmp_path / "0") == probabilities(tmp_path / "1")


@pytest.mark.parametrize("rate", [2, 0.5, {"crawl": 3}])
def test_another_rate_of_a_weighted_language_is_refused(tmp_path: Path, rate: object) -> None:
    result = compute(tmp_path, "--omissions", "list", ratio={"ar": {"news": 1}, "web": rate}, **WEIGHTED)
    assert result.returncode == 2
    assert "domain 'web' has rate" in result.stderr and "for all languages, and language 'en' has temp" in result.stderr
    assert "write the rates of 'web' below the languages that they are meant for" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_rate_of_a_domain_that_the_weighted_language_has_not_is_no_matter(tmp_path: Path) -> None:
    result = compute(tmp_path, ratio={"news": 7}, **WEIGHTED)
    assert result.returncode == 0, result.stderr
    excluded = compute(tmp_path, ratio={"news": 7, "web": 7}, excluded=["en_web_*"], **WEIGHTED)
    assert excluded.returncode == 0, excluded.stderr
    assert len(probabilities(tmp_path)) == len(SIGNATURE) - 1
