"""A pair without its copies is a new .idx beside the same .bin, which all that reads pairs understands."""

from pathlib import Path

import numpy as np
import pytest

from keyed import texts_of, tokenized
from pretrain_llama.duplicates import record
from pretrain_llama.errors import DataError
from pretrain_llama.names import Counts
from pretrain_llama.tokenization.audit import audit
from pretrain_llama.tokenization.indexed import IndexedReader, kept_index, read_counts
from pretrain_llama.tokenization.joining import join
from project import run_script

SHARD = "en_books_tales_split_0000"
PREFIX = f"{SHARD}_text_document"
TEXTS = ["one", "two", "two", "three", "one", "four", "four"]
LEFT = ["one", "two", "three", "four"]
NAMED = f"{PREFIX}_dc=4_sc=4_tc=15"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair whose copies are dropped, named by name_indexed.py."""
    folder = tmp_path_factory.mktemp("dropped")
    tokenized(folder, SHARD, TEXTS)
    record.write_dropped(folder / PREFIX, np.array([2, 4, 6]))
    result = run_script("name_indexed.py", "--prefix", folder / PREFIX, "--output-prefix", folder / "named" / NAMED)
    assert result.returncode == 0, result.stderr
    return folder / "named" / NAMED


def test_it_is_the_same_bin_and_has_the_documents_that_are_left(named: Path) -> None:
    assert named.with_name(f"{NAMED}.bin").samefile(named.parents[1] / f"{PREFIX}.bin")
    assert texts_of(named) == LEFT
    assert read_counts(named) == IndexedReader(named).counts == Counts(4, 4, 15)
    assert IndexedReader(named).spans() == [(0, 12), (18, 28), (34, 42)]
    assert audit(named, None, None, None).defects == []


def test_megatron_reads_it(named: Path) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    dataset = IndexedDataset(str(named))
    assert ["".join(map(chr, dataset[number])) for number in range(len(dataset))] == LEFT
    assert dataset.document_indices.tolist() == [0, 1, 2, 3, 4]


def test_joined_it_has_no_gaps(named: Path, tmp_path: Path) -> None:
    join([named, named], tmp_path / "joined")
    assert texts_of(tmp_path / "joined") == LEFT * 2
    assert (tmp_path / "joined.bin").stat().st_size == 2 * 15 * 2


def test_other_counts_than_those_of_the_name_are_refused(named: Path) -> None:
    wrong = named.with_name(f"{PREFIX}_dc=4_sc=4_tc=16")
    result = run_script("name_indexed.py", "--prefix", named.parents[1] / PREFIX, "--output-prefix", wrong)
    assert result.returncode == 2 and "dc=4 sc=4 tc=15 without the copies that are dropped" in result.stderr


@pytest.mark.parametrize("name", [PREFIX, f"{PREFIX}_dc=5_sc=5_tc=15"])
def test_a_bin_that_is_too_long_is_damaged_where_the_name_does_not_say_so(
    named: Path, tmp_path: Path, name: str
) -> None:
    for suffix in (".bin", ".idx"):
        (tmp_path / f"{name}{suffix}").write_bytes(named.with_name(f"{NAMED}{suffix}").read_bytes())
    with pytest.raises(DataError, match=r"the .idx speaks of 15"):
        IndexedReader(tmp_path / name)


def test_a_bin_that_is_too_short_is_damaged_whatever_the_name_says(named: Path, tmp_path: Path) -> None:
    (tmp_path / f"{NAMED}.bin").write_bytes(named.with_name(f"{NAMED}.bin").read_bytes()[:-10])
    (tmp_path / f"{NAMED}.idx").write_bytes(named.with_name(f"{NAMED}.idx").read_bytes())
    with pytest.raises(DataError, match=r"the .idx speaks of 15"):
        IndexedReader(tmp_path / NAMED)


def test_documents_that_are_not_there_cannot_be_left_out(named: Path) -> None:
    index = (named.parents[1] / f"{PREFIX}.idx").read_bytes()
    with pytest.raises(DataError, match="document 7 of 7 is to be left out"):
        kept_index(index, np.array([7]), "here")
    with pytest.raises(DataError, match="7 sequences and 7 documents"):
        kept_index(index[:-1], np.array([1]), "here")
