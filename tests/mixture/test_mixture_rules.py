"""Caps, crumbs, temperature, UniMax and counts: by example, and for any mixture."""

import csv
from collections.abc import Iterator
from math import fsum, inf
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mixtures import SIGNATURE, compute, compute_here, epochs, probabilities, written
from pretrain_llama.mixture.filling import fill
from pretrain_llama.mixture.largest_remainder import largest_remainder
from pretrain_llama.mixture.mixture import TrainingLength
from pretrain_llama.mixture.weighting import rates_of
from pretrain_llama.names import parse_counted

EN, AR = {"books": 1, "web": 2}, {"news": 1}


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "out" / "mixture.csv") as file:
        return {row["name"].split("_text_document")[0]: row for row in csv.DictReader(file)}


def test_a_cap_for_all_moves_what_is_over_it_within_the_language(tmp_path: Path) -> None:
    result = compute(tmp_path, mixture={"max_epochs": 2}, shares={"en": 0.9, "ar": 0.1})
    assert result.returncode == 0, result.stderr
    found = epochs(tmp_path)
    assert found["en_web_crawl_split_0000"] == 2, "not 2.25"
    assert found["en_books_tales_split_0000"] == pytest.approx((9_000 - 4_000) / 4_000, rel=1e-12)
    assert found["ar_news_daily_split_0000"] == pytest.approx(2, rel=1e-12), "all that is there, and no less"
    assert sum(p for shard, p in probabilities(tmp_path).items() if shard.startswith("en")) == pytest.approx(0.9)


def test_a_cap_that_nothing_reaches_changes_nothing(tmp_path: Path) -> None:
    compute(tmp_path, mixture={})
    before = probabilities(tmp_path)
    compute(tmp_path, mixture={"max_epochs": 5.1})
    assert probabilities(tmp_path) == before


def test_a_cap_of_a_domain_is_met_exactly_and_the_others_get_the_rest(tmp_path: Path) -> None:
    compute(tmp_path, mixture={"max_epochs": {"en": {"web": 0.5}}})
    found = epochs(tmp_path)
    assert found["en_web_crawl_split_0000"] == 0.5
    left = (7_500 - 1_000) / 4_000
    assert found["en_books_tales_split_0000"] == found["en_books_tales_split_0001"] == pytest.approx(left, rel=1e-12)
    assert rows(tmp_path)["en_web_crawl_split_0000"]["max_epochs"] == "0.5"
    assert rows(tmp_path)["en_books_tales_split_0000"]["max_epochs"] == ""


def test_caps_may_be_by_subdomain(tmp_path: Path) -> None:
    compute(tmp_path, mixture={"max_epochs": {"web": {"crawl": 0.5}}})
    assert epochs(tmp_path)["en_web_crawl_split_0000"] == 0.5


def test_crumbs_are_dropped_told_and_their_language_renormalised(tmp_path: Path) -> None:
    result = compute(tmp_path, mixture={"min_probability": 0.1})
    assert result.returncode == 0, result.stderr
    # 1,000 of 8,000 weighted English tokens at 3/4: 0.09375.
    assert probabilities(tmp_path) == pytest.approx(
        {
            "ar_news_daily_split_0000": 0.25,
            "en_books_tales_split_0001": 0.75 * 3 / 7,
            "en_web_crawl_split_0000": 0.75 * 4 / 7,
        },
        abs=1e-15,
    )
    assert "(1,000 tokens): probability 0.0938 is below 0.1" in result.stdout
    assert rows(tmp_path)["en_books_tales_split_0000"]["left_out"] == "probability 0.0938 is below 0.1"


@pytest.mark.parametrize(("temperature", "books"), [(1, 4000 / 6000), (2, 4000**0.5 / (4000**0.5 + 2000**0.5))])
def test_temperature_flattens_the_domains(tmp_path: Path, temperature: float, books: float) -> None:
    result = compute(tmp_path, ratio={"ar": AR}, mixture={"weighting": {"en": {"temperature": temperature}}})
    assert result.returncode == 0, result.stderr
    found = probabilities(tmp_path)
    assert found["en_web_crawl_split_0000"] == pytest.approx(0.75 * (1 - books), rel=1e-12)
    assert found["en_books_tales_split_0001"] == pytest.approx(0.75 * books * 3 / 4, rel=1e-12)
    rates = {shard: float(row["rate"]) for shard, row in rows(tmp_path).items()}
    assert rates["en_books_tales_split_0001"] == 1, "the domain with most tokens"
    assert rates["en_web_crawl_split_0000"] == pytest.approx((2000 / 4000) ** (1 / temperature - 1))


def test_weighted_languages_count_by_their_tokens_in_proportional_shares(tmp_path: Path) -> None:
    weighting = {"en": {"temperature": 5}}
    compute(tmp_path, ratio={"ar": {"news": 2}}, shares='"proportional"', mixture={"weighting": weighting})
    assert probabilities(tmp_path)["ar_news_daily_split_0000"] == pytest.approx(1000 / 7000, rel=1e-12)


def unimax(sizes: list[int], budget: float, most_epochs: float) -> list[float]:
    """Algorithm 1 of arXiv 2304.09151: domains by size, each an equal part of what is left, or its most epochs."""
    allocated = [0.0] * len(sizes)
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for place, i in enumerate(order):
        fair = budget / (len(sizes) - place)
        allocated[i] = min(fair, most_epochs * sizes[i])
        budget -= allocated[i]
    return allocated


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 10**12), min_size=1, max_size=12),
    st.floats(0.5, 8),
    st.floats(0.01, 1),
)
def test_unimax_is_the_papers_algorithm(sizes: list[int], most_epochs: float, used: float) -> None:
    names = [
        parse_counted(f"en_d{number}_x_split_0000_text_document_dc=1_sc=1_tc={size}")
        for number, size in enumerate(sizes)
    ]
    budget = used * most_epochs * sum(sizes)
    weights = [n.tokens * rate for n, rate in zip(names, rates_of(names, {"unimax": most_epochs}), strict=True)]
    ours = fill(weights, [most_epochs * size / budget for size in sizes], 1.0)
    assert [share * budget for share in ours] == pytest.approx(unimax(sizes, budget, most_epochs), rel=1e-9)


def test_unimax_through_the_program(tmp_path: Path) -> None:
    signature = [*SIGNATURE, "en_code_git_split_0000_text_document_dc=7_sc=7_tc=500.bin"]
    result = compute(tmp_path, signature=signature, ratio={"ar": AR}, mixture={"weighting": {"en": {"unimax": 2}}})
    assert result.returncode == 0, result.stderr
    # 7,500 tokens for code of 500, web of 2,000 and books of 4,000.
    assert epochs(tmp_path)["en_code_git_split_0000"] == pytest.approx(2, rel=1e-12)
    assert epochs(tmp_path)["en_web_crawl_split_0000"] == pytest.approx(3250 / 2000, rel=1e-12)
    assert epochs(tmp_path)["en_books_tales_split_0000"] == pytest.approx(3250 / 4000, rel=1e-12)
    too_much = compute(tmp_path, signature=signature, ratio={"ar": AR}, mixture={"weighting": {"en": {"unimax": 1}}})
    assert "its shards have 6,500 within their most epochs, 1,000 too few" in too_much.stderr


weights = st.lists(st.floats(1e-3, 1e15), min_size=1, max_size=30)


@given(weights, st.data())
def test_filling_sums_to_the_share_and_keeps_every_cap(weights: list[float], data: st.DataObject) -> None:
    caps = data.draw(st.lists(st.floats(1e-6, 2) | st.just(inf), min_size=len(weights), max_size=len(weights)))
    share = data.draw(st.floats(1e-3, 1))
    assume(fsum(caps) >= share)
    filled = fill(weights, caps, share)
    assert fsum(filled) == pytest.approx(share, abs=1e-12)
    assert all(part <= cap * (1 + 1e-12) for part, cap in zip(filled, caps, strict=True))
    # Who is below their cap has no less for their weight than who is at it.
    levels = [(part / weight, part < cap) for part, weight, cap in zip(filled, weights, caps, strict=True)]
    below = [level for level, free in levels if free]
    assert not below or max(level for level, _ in levels) <= min(below) * (1 + 1e-9)


@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=50), st.integers(0, 10**15))
def test_counts_sum_exactly_and_are_within_one_of_their_quota(probabilities: list[float], total: int) -> None:
    from fractions import Fraction

    counts = largest_remainder(probabilities, total)
    assert sum(counts) == total
    whole = sum(map(Fraction, probabilities))
    assert all(abs(c - total * Fraction(p) / whole) < 1 for c, p in zip(counts, probabilities, strict=True))


LENGTH = TrainingLength(10**6, 4096)
LANGUAGES, DOMAINS = ["en", "ar", "trans-ar"], ["books", "web", "code", "news"]
shard = st.tuples(st.sampled_from(LANGUAGES), st.sampled_from(DOMAINS), st.integers(0, 9), st.integers(4097, 10**12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("choices")


def least_cap(drawn: list[tuple], shares: dict[str, float]) -> float:
    """The most epochs below which some language cannot be filled: those of the one that is repeated most."""
    tokens = {language: sum(own[3] for own in drawn if own[0] == language) for language in {own[0] for own in drawn}}
    whole = fsum(shares[language] for language in tokens)
    return max(shares[language] / whole * LENGTH.tokens / there for language, there in tokens.items())


@pytest.fixture(scope="module")
def binding() -> Iterator[list[bool]]:
    """Whether a cap binds in each example; it has to in some of them, and not in all."""
    examples: list[bool] = []
    yield examples
    assert 0 < sum(examples) < len(examples)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(shard, min_size=1, max_size=25, unique_by=lambda drawn: drawn[:3]),
    st.fixed_dictionaries({domain: st.integers(1, 30) | st.floats(0.01, 100) for domain in DOMAINS}),
    st.fixed_dictionaries({language: st.floats(0.01, 10**12) for language in LANGUAGES}),
    st.sampled_from([None, 1 + 1e-9, 1.01, 1.1, 1.5]),
    st.sampled_from(DOMAINS),
    st.randoms(use_true_random=False),
)
def test_any_mixture_sums_to_one_keeps_caps_grows_with_a_rate_and_knows_no_order(
    folder: Path,
    binding: list[bool],
    drawn: list[tuple],
    rates: dict,
    shares: dict,
    over_least: float | None,
    raised: str,
    random,
) -> None:
    names = [
        f"{language}_{domain}_x_split_{number:04d}_text_document_dc=1_sc=1_tc={tokens}.bin"
        for language, domain, number, tokens in drawn
    ]
    mixture = {"max_epochs": over_least * least_cap(drawn, shares)} if over_least else {}
    first = compute_here(folder, LENGTH, names, rates, shares, mixture)
    after = compute_here(folder, LENGTH, names, rates | {raised: rates[raised] * 2}, shares, mixture)
    binding.append(any(first.epochs(s) >= s.max_epochs * (1 - 1e-9) for s in first.shards))
    assert fsum(s.probability for s in first.shards) == pytest.approx(1, abs=1e-12)
    assert sum(s.sequences for s in first.shards) == 10**6
    assert all(first.epochs(s) <= s.max_epochs * (1 + 1e-9) for s in first.shards)
    for shard in first.shards:
        if shard.name.shard.domain == raised:
            assert after.by_name[str(shard.name)].probability >= shard.probability * (1 - 1e-9)
    shuffled = random.sample(names, len(names))
    items = random.sample(list(rates.items()), len(rates))
    again = compute_here(folder, LENGTH, shuffled, dict(items), dict(reversed(shares.items())), mixture)
    assert again.shards == first.shards


def test_the_report_sums_what_the_shards_have(tmp_path: Path) -> None:
    result = compute(tmp_path, mixture={}, ratio={"en": EN | {"web": 0}, "ar": AR})
    lines = {tuple(line.split()[:2]): line.split()[2:] for line in result.stdout.splitlines() if line}
    assert lines["en", "books"] == ["2", "4,000", "7,500", "0.750000", "1.8750", "0"]
    assert lines["en", "web"] == ["0", "0", "0", "0.000000", "0.0000", "2,000"]
    assert lines["en", "all"] == ["2", "4,000", "7,500", "0.750000", "1.8750", "2,000"]
    assert sum(written(tmp_path)["sequences"].values()) == 500


def test_the_epochs_of_a_capped_domain_are_its_cap_whatever_whole_sequences_make(tmp_path: Path) -> None:
    result = compute(tmp_path, mixture={"max_epochs": {"en": {"web": 0.333}}})
    web = next(line.split() for line in result.stdout.splitlines() if line.startswith("en        web"))
    assert web[4] == "660", "33 sequences of 20 tokens, of 33.3"
    assert web[6] == "0.3330"
    assert rows(tmp_path)["en_web_crawl_split_0000"]["epochs"] == "0.333000"
