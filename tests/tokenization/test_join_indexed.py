"""Joined pairs: as megatron-core's own builder would write them, counted, and of nothing twice."""

from pathlib import Path

import numpy as np
import pytest

from mixtures import compute, write_shard, write_shards
from pairs import write_random_pair
from pretrain_llama.mixture import preflight
from pretrain_llama.mixture.mixture import Mixture
from pretrain_llama.tokenization.indexed import HEADER, MAGIC
from pretrain_llama.tokenization.joining import join
from project import Result, run_script


def write_sequences(prefix: Path, documents: list[list[int]], dtype: type) -> None:
    """Write a pair whose documents have several sequences, with megatron-core's builder."""
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
    for lengths in documents:
        builder.add_document(np.arange(sum(lengths)).astype(dtype), lengths)
    builder.finalize(f"{prefix}.idx")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_joined_pairs_are_megatrons_to_the_byte(tmp_path: Path, dtype: type) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    parts = [tmp_path / "a", tmp_path / "b", tmp_path / "empty", tmp_path / "c"]
    write_sequences(parts[0], [[3, 4], [5]], dtype)
    write_random_pair(parts[1], [7, 0, 900], dtype)
    write_random_pair(parts[2], [], dtype)
    write_sequences(parts[3], [[1], [2, 2, 2]], dtype)
    builder = IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=dtype)
    for part in parts:
        builder.add_index(str(part))
    builder.finalize(str(tmp_path / "theirs.idx"))
    join(parts, tmp_path / "ours")
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()


def join_program(folder: Path, *pairs: Path, shard: str = "en_books_joined_split_0000") -> Result:
    return run_script("join_indexed.py", "--shard", shard, "--output-dir", folder / "joined", *pairs)


def test_joined_shards_are_counted_and_can_be_trained_on(tmp_path: Path) -> None:
    names = write_shards(tmp_path / "indexed", 8)
    books = sorted((tmp_path / "indexed").glob("en_books_*"))
    assert len(books) == 8, "each of four pairs is named twice"
    result = join_program(tmp_path, *books)
    assert result.returncode == 0, result.stderr
    joined = [path.name for path in (tmp_path / "joined").glob("*.bin")]
    tokens = sum(int(name.split("_tc=")[1].removesuffix(".bin")) for name in names if "books" in name)
    assert joined[0].endswith(f"_tc={tokens}.bin")
    assert result.stdout == f"4 pairs joined: {tmp_path / 'joined' / joined[0].removesuffix('.bin')}\n"
    compute(tmp_path, signature=joined, ratio={"books": 1}, shares={"en": 1}, mixture={})
    checked = preflight.check(Mixture.read(tmp_path / "out"), tmp_path / "joined", "100,0,0", tmp_path)
    assert checked.drawn == {joined[0].removesuffix(".bin"): 500}


def test_pairs_that_do_not_belong_together_are_not_joined(tmp_path: Path) -> None:
    write_random_pair(tmp_path / "narrow", [3])
    write_random_pair(tmp_path / "wide", [3], np.int32)
    result = join_program(tmp_path, tmp_path / "narrow", tmp_path / "wide")
    assert "narrow holds uint16 ids, wide int32" in result.stderr
    web = tmp_path / write_shard(tmp_path, "en_web_crawl", 0, [3])
    result = join_program(tmp_path, web)
    assert "en_web_crawl_split_0000 is of en web, the joined shard of en books" in result.stderr
    for tokenizer in ("toy.01234567", "toy.89abcdef"):
        write_random_pair(tmp_path / tokenizer / "pair", [3])
    result = join_program(tmp_path, *tmp_path.glob("toy.*/pair.bin"))
    assert "shards of different tokenizers: toy.01234567, toy.89abcdef" in result.stderr
    (tmp_path / "narrow.idx").write_bytes(HEADER.pack(MAGIC, 1, 6, 0, 1))
    result = join_program(tmp_path, tmp_path / "narrow")
    assert "dtype code 6" in result.stderr


def test_who_gives_a_folder_is_not_told_to_delete_it(tmp_path: Path) -> None:
    for given in (tmp_path, tmp_path / "none.bin"):
        result = join_program(tmp_path, given)
        assert result.returncode == 2 and "delete" not in result.stderr
        assert f"no .bin/.idx pair\n  where: {given.with_suffix('')}\n  next:  correct the path" in result.stderr
    assert result.returncode == 2
    assert not (tmp_path / "joined").exists()


def test_a_pair_is_joined_once_however_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_shard(tmp_path, "en_books_tales", 0, [3, 4])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    result = join_program(tmp_path, Path(name), tmp_path / name, Path("link") / name.replace(".bin", ".idx"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("1 pairs joined")
    assert [path.name.split("_text_document")[1] for path in (tmp_path / "joined").glob("*.bin")] == [
        "_dc=2_sc=2_tc=7.bin"
    ]


def test_a_shard_twice_is_refused(tmp_path: Path) -> None:
    pairs = [tmp_path / write_shard(tmp_path, "en_books_tales", 0, lengths) for lengths in ([3], [3, 4])]
    result = join_program(tmp_path, *pairs)
    assert result.returncode == 2
    both = "en_books_tales_split_0000_text_document_dc=2_sc=2_tc=7 and as en_books_tales_split_0000_text_document_dc=1"
    assert f"en_books_tales_split_0000 is given twice, as {both}" in result.stderr
    uncounted = tmp_path / "other" / "en_books_tales_split_0000_text_document"
    write_random_pair(uncounted, [3])
    result = join_program(tmp_path, pairs[0], uncounted)
    assert "en_books_tales_split_0000 is given twice" in result.stderr
    assert f"{tmp_path / 'other'} and {tmp_path}\n" in result.stderr
    assert not (tmp_path / "joined").exists()


def test_a_pair_that_is_not_as_its_name_says_is_refused(tmp_path: Path) -> None:
    pair = tmp_path / write_shard(tmp_path, "en_books_tales", 0, [3])
    write_random_pair(pair.with_suffix(""), [3, 4])
    result = join_program(tmp_path, pair)
    assert result.returncode == 2
    assert "_dc=1_sc=1_tc=3 holds dc=2 sc=2 tc=7" in result.stderr
    assert not (tmp_path / "joined").exists()


def test_an_interrupted_join_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_random_pair(tmp_path / "a", [3])

    def full_disk(*_: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr("pretrain_llama.tokenization.joining.copy_block", full_disk)
    with pytest.raises(OSError, match="no space"):
        join([tmp_path / "a"], tmp_path / "joined" / "b")
    assert not list((tmp_path / "joined").iterdir())
