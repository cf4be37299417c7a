"""Copies among any documents are found, each once, as a plain dictionary finds them; in parts as in one."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretrain_llama.duplicates import finding, spill
from pretrain_llama.duplicates.finding import Pair, find

# Keys that agree in their first half, in their second half, or in the bits that a search looks at first.
HALVES = st.sampled_from([0, 1, 1 << 20, 1 << 63, (1 << 64) - 1])
KEYS = st.lists(st.lists(st.tuples(HALVES, HALVES), max_size=12), min_size=1, max_size=4)


def pair(name: str, halves: list[tuple[int, int]], left_out: list[int]) -> Pair:
    keys = np.array(halves, "<u8").reshape(-1, 2).view(np.uint8)
    return Pair(name, len(halves), lambda first, count: keys[first : first + count], np.array(left_out, np.int64))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KEYS, st.integers(0, 6), st.sampled_from([1, 3, 1 << 20]), st.randoms())
def test_every_document_is_kept_once_or_is_a_copy_of_one_that_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, documents: list, bits: int, block: int, random: object
) -> None:
    monkeypatch.setattr(spill, "BLOCK_DOCUMENTS", block)
    monkeypatch.setattr(finding, "bits_for", lambda *_: bits)
    left_out = [sorted(number for number in range(len(keys)) if random.random() < 0.2) for keys in documents]
    pairs = [pair(f"p{n}", keys, out) for n, (keys, out) in enumerate(zip(documents, left_out, strict=True))]
    found = find(pairs, 1 << 30, 2, tmp_path)
    first: dict[tuple[int, int], int] = {}
    copies, of = [], Counter()
    for number, keys in enumerate(documents):
        copies.append([])
        for place, key in enumerate(keys):
            if place in left_out[number]:
                continue
            if first.setdefault(key, number) != number or (number, key) in copies_seen(
                copies, keys, left_out[number], place
            ):
                copies[-1].append(place)
                of[first[key], number] += 1
    assert [numbers.tolist() for numbers in found.copies] == copies
    assert found.pairs == of
    assert not list(tmp_path.iterdir())


def copies_seen(copies: list, keys: list, left_out: list[int], place: int) -> set:
    """The keys of a pair before a place in it."""
    return {(len(copies) - 1, keys[n]) for n in range(place) if n not in left_out}


def test_texts_with_most_copies_are_told_with_their_places(tmp_path: Path) -> None:
    pairs = [pair("a", [(1, 1), (2, 2), (1, 1)], []), pair("b", [(2, 2), (1, 1), (3, 3)], [])]
    found = find(pairs, 1 << 30, 1, tmp_path)
    assert found.largest == [(3, [(0, 0), (0, 2), (1, 1)]), (2, [(0, 1), (1, 0)])]


def test_parts_are_small_enough_for_the_memory() -> None:
    assert spill.bits_for(10, 10) == 0
    assert spill.bits_for(11, 10) == 1
    assert spill.bits_for(10**9, 10**7) == 7
    assert spill.bits_for(10**18, 1) == 16


def test_no_documents_are_no_copies(tmp_path: Path) -> None:
    assert find([], 1 << 30, 1, tmp_path).copies == []
    assert [len(numbers) for numbers in find([pair("a", [], [])], 1 << 30, 1, tmp_path).copies] == [0]
