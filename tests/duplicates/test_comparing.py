"""Copies are counted or dropped: the first stays, what was decided stays, and the numbers add up."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyed import tokenized
from pretrain_llama.duplicates import record
from pretrain_llama.duplicates.comparing import compare
from pretrain_llama.duplicates.record import Copies, Duplicates
from pretrain_llama.errors import DataError
from pretrain_llama.files import write_json
from pretrain_llama.names import PREFIX_SUFFIX

ONE, TWO, THREE = "en_books_tales_split_0000", "en_books_tales_split_0001", "ar_news_daily_split_0000"


def drop(folder: Path, *shards: str) -> Duplicates:
    return compare(shards, str(folder), True, 1 << 30, 1, folder)


def kept(folder: Path, shard: str, texts: list[str]) -> list[str]:
    dropped = set(record.read_dropped(folder / f"{shard}{PREFIX_SUFFIX}").tolist())
    return [text for number, text in enumerate(texts) if number not in dropped]


def test_the_first_stays_within_a_file_between_files_and_corpora(tmp_path: Path) -> None:
    tokenized(tmp_path, ONE, ["a", "bb", "a"])
    tokenized(tmp_path, TWO, ["bb", "ccc"])
    tokenized(tmp_path, THREE, ["dddd", "ccc", "dddd"], held_out=["e"])
    found = drop(tmp_path, ONE, TWO, THREE)
    assert found.shards == {
        ONE: Copies(3, 1, {ONE: 1}),
        TWO: Copies(2, 2, {ONE: 1}),
        THREE: Copies(3, 7, {TWO: 1, THREE: 1}),
    }
    assert [kept(tmp_path, *of) for of in [(ONE, ["a", "bb", "a"]), (TWO, ["bb", "ccc"])]] == [["a", "bb"], ["ccc"]]
    assert record.between_corpora(found.shards) == {
        ("en_books_tales", "en_books_tales"): 2,
        ("en_books_tales", "ar_news_daily"): 1,
        ("ar_news_daily", "ar_news_daily"): 1,
    }
    write_json(tmp_path / "duplicates.json", found.to_json())
    assert Duplicates.read(tmp_path / "duplicates.json") == found


def test_a_copy_of_a_held_out_document_is_never_trained_on(tmp_path: Path) -> None:
    tokenized(tmp_path, ONE, ["a", "b"])
    tokenized(tmp_path, TWO, ["c"], held_out=["a"])
    found = drop(tmp_path, ONE, TWO)
    assert found.shards[ONE].of == {f"{TWO} held out": 1} and kept(tmp_path, ONE, ["a", "b"]) == ["b"]


def test_counting_decides_nothing_and_names_shards_without_keys(tmp_path: Path) -> None:
    tokenized(tmp_path, ONE, ["a", "a"])
    tokenized(tmp_path, TWO, ["a"])
    (tmp_path / f"{TWO}{PREFIX_SUFFIX}.keys").unlink()
    found = compare([ONE, TWO], str(tmp_path), False, 1 << 30, 1, tmp_path, decode=lambda ids: "".join(map(chr, ids)))
    assert found.shards == {ONE: Copies(2, 1, {ONE: 1})} and found.without_keys == [TWO] and not found.left_out
    assert found.largest == [{"copies": 2, "documents": [[ONE, 0], [ONE, 1]], "text": "a"}]
    assert not list(tmp_path.glob("*.dropped"))
    with pytest.raises(DataError, match="the keys of its documents are missing"):
        drop(tmp_path, ONE, TWO)


def test_keys_that_are_not_those_of_the_pair_are_refused(tmp_path: Path) -> None:
    tokenized(tmp_path, ONE, ["a", "b"])
    (tmp_path / f"{ONE}{PREFIX_SUFFIX}.keys").write_bytes(bytes(16))
    with pytest.raises(DataError, match="16 bytes are no keys of 2 documents"):
        drop(tmp_path, ONE)


def test_of_old_and_new_the_new_one_goes_whatever_the_order(tmp_path: Path) -> None:
    tokenized(tmp_path, TWO, ["a", "b", "b"])
    drop(tmp_path, TWO)
    before = (tmp_path / f"{TWO}{PREFIX_SUFFIX}.dropped").read_bytes()
    tokenized(tmp_path, ONE, ["b", "c"])
    found = drop(tmp_path, ONE, TWO)
    assert (tmp_path / f"{TWO}{PREFIX_SUFFIX}.dropped").read_bytes() == before
    assert found.shards[TWO] == Copies(3, 1, {TWO: 1}) and kept(tmp_path, ONE, ["b", "c"]) == ["c"]


def test_a_copy_whose_first_is_gone_comes_back(tmp_path: Path) -> None:
    tokenized(tmp_path, ONE, ["a"])
    tokenized(tmp_path, TWO, ["a", "b"])
    drop(tmp_path, ONE, TWO)
    assert kept(tmp_path, TWO, ["a", "b"]) == ["b"]
    assert drop(tmp_path, TWO).shards == {TWO: Copies(2)}
    assert kept(tmp_path, TWO, ["a", "b"]) == ["a", "b"]


def test_what_is_dropped_has_to_be_there(tmp_path: Path) -> None:
    tokenized(tmp_path, ONE, ["a", "a"])
    drop(tmp_path, ONE)
    dropped = tmp_path / f"{ONE}{PREFIX_SUFFIX}.dropped"
    dropped.unlink()
    with pytest.raises(DataError, match=f"0 documents of {ONE} are dropped, 1 were decided"):
        drop(tmp_path, ONE)
    dropped.write_bytes(b"123")
    with pytest.raises(DataError, match="3 bytes are no numbers"):
        drop(tmp_path, ONE)


def test_a_record_of_another_version_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "duplicates.json", {"shards": {}})
    with pytest.raises(DataError, match=r"no duplicates.json of this version"):
        Duplicates.read(tmp_path / "duplicates.json")


TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=8)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXTS, st.lists(st.sampled_from("fg"), max_size=2)), min_size=1, max_size=3), st.data())
def test_whatever_is_delivered_when_every_text_is_kept_once(
    tmp_path_factory: pytest.TempPathFactory, deliveries: list, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("deliveries")
    there: dict[str, list[str]] = {}
    for number, (texts, held_out) in enumerate(deliveries):
        shard = f"en_books_tales_split_{number:04d}"
        tokenized(folder, shard, texts, held_out)
        decided = {old: kept(folder, old, there[old]) for old in there}
        there[shard] = texts
        found = drop(folder, *data.draw(st.permutations(sorted(there))))
        assert {old: kept(folder, old, there[old]) for old in decided} == decided, "what was there does not change"
    left = [text for shard, texts in there.items() for text in kept(folder, shard, texts)]
    assert sorted(left) == sorted({text for texts in there.values() for text in texts})
    for shard, texts in there.items():
        one = found.shards[shard]
        assert one.documents == len(texts) == len(kept(folder, shard, texts)) + one.count
        assert one.tokens == one.count, "a text is a token"
