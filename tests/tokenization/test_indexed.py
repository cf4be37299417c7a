"""The .bin/.idx pair: bytes as megatron-core's own builder writes them; a damaged one is refused."""

from pathlib import Path

import numpy as np
import pytest

from pairs import write_pair
from pretrain_llama.errors import DataError
from pretrain_llama.tokenization import indexed
from pretrain_llama.tokenization.indexed import IndexedReader, dtype_for, prefix_of, writing_indexed
from project import PREFIX, run_script


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
@pytest.mark.parametrize("lengths", [[3, 1, 700, 0, 2], [1], []])
def test_bin_and_idx_are_megatrons_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type, lengths: list[int]
) -> None:
    monkeypatch.setattr(indexed, "CHUNK", 2)  # so that the index is written in several pieces
    from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder

    random = np.random.default_rng(0)
    documents = [random.integers(0, 30_000, length).astype(dtype) for length in lengths]
    builder = IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=dtype)
    for ids in documents:
        builder.add_document(ids, [len(ids)])
    builder.finalize(str(tmp_path / "theirs.idx"))
    with writing_indexed(tmp_path / "ours", np.dtype(dtype)) as writer:
        for batch in (documents[:2], documents[2:], []):
            writer.add_documents(
                np.concatenate([np.empty(0, dtype), *batch]), np.array([len(ids) for ids in batch], int)
            )
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()
    if sum(lengths):
        theirs = IndexedDataset(str(tmp_path / "ours"))
        assert [item.tolist() for item in theirs] == [ids.tolist() for ids in documents]
    reader = IndexedReader(tmp_path / "ours")
    assert (reader.documents, reader.sequences, reader.tokens) == (len(lengths), len(lengths), sum(lengths))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda prefix: Path(f"{prefix}.bin").unlink(), "its .bin or .idx is missing"),
        (lambda prefix: Path(f"{prefix}.idx").write_bytes(b"NOTANIDX" * 10), "is no Megatron index"),
        (lambda prefix: Path(f"{prefix}.idx").write_bytes(Path(f"{prefix}.idx").read_bytes()[:-8]), "do not fit its 2"),
        (lambda prefix: Path(f"{prefix}.bin").write_bytes(b"\0\0"), "the .bin has 2 bytes, the .idx speaks of 3"),
        (
            lambda prefix: Path(f"{prefix}.idx").write_bytes(b"MMIDIDX\0\0" + bytes([9]) + bytes(40)),
            "version 9 and dtype code 0",
        ),
    ],
)
def test_a_damaged_pair_is_refused(tmp_path: Path, damage, problem: str) -> None:
    write_pair(tmp_path / "pair", [[1, 2], [3]])
    damage(tmp_path / "pair")
    with pytest.raises(DataError, match=problem):
        IndexedReader(tmp_path / "pair")


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing_indexed(tmp_path / "pair", np.dtype(np.uint16)) as writer:
        writer.add_documents(np.array([1], np.uint16), np.array([1]))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_counted_name_that_lies_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / PREFIX, [[1, 2]])
    prefix = tmp_path / PREFIX
    wrong = run_script("name_indexed.py", "--prefix", prefix, "--output-prefix", f"{prefix}_dc=1_sc=1_tc=3")
    assert wrong.returncode == 2
    assert "the pair holds dc=1 sc=1 tc=2, not those of" in wrong.stderr
    right = run_script("name_indexed.py", "--prefix", prefix, "--output-prefix", f"{prefix}_dc=1_sc=1_tc=2")
    assert right.returncode == 0, right.stderr
    linked = Path(f"{prefix}_dc=1_sc=1_tc=2.bin")
    assert linked.stat().st_ino == Path(f"{prefix}.bin").stat().st_ino, "no bytes move"


@pytest.mark.parametrize("suffix", ["", ".bin", ".idx"])
def test_a_prefix_keeps_the_dots_of_its_name(suffix: str) -> None:
    prefix = "indexed/en_web_c4.v2_split_0000_text_document"
    assert prefix_of(prefix + suffix) == Path(prefix)


def test_ids_are_never_stored_in_too_small_a_type() -> None:
    assert (dtype_for(65_499), dtype_for(65_500)) == (np.uint16, np.int32)
