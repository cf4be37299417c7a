"""The .bin/.idx pair: bytes as megatron-core's own builder writes them; what is wrong with one is found and said."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pretrain_llama.errors import DataError
from pretrain_llama.tokenization import indexed
from pretrain_llama.tokenization.indexed import HEADER, IndexedReader, dtype_for, writing_indexed
from project import PREFIX, Result, run_script


def write_pair(prefix: Path, documents: list[list[int]], dtype: type = np.uint16) -> None:
    with writing_indexed(prefix, np.dtype(dtype)) as writer:
        writer.add_documents(np.concatenate(documents).astype(dtype), np.array([len(ids) for ids in documents], int))


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


def test_ids_are_never_stored_in_too_small_a_type() -> None:
    assert (dtype_for(65_499), dtype_for(65_500)) == (np.uint16, np.int32)


def audit(*args: object) -> Result:
    return run_script("audit_indexed.py", *args)


def test_an_audit_of_a_sound_pair_lets_a_person_read(tmp_path: Path, tokenizer_model: Path) -> None:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_model))
    documents = [[1, *model.encode(f"A tale of {number} ships."), 2] for number in range(5)]
    tokens = sum(map(len, documents))
    write_pair(tmp_path / f"{PREFIX}_dc=5_sc=5_tc={tokens}", documents)
    result = audit(tmp_path / f"{PREFIX}_dc=5_sc=5_tc={tokens}.bin", "--tokenizer-model", tokenizer_model, "--show", 9)
    assert result.returncode == 0, result.stderr
    assert f"5 documents, 0 of them empty; {tokens} tokens" in result.stdout
    assert "BOS 100.00%; EOS 100.00%" in result.stdout
    assert [f"document {n}: 'A tale of {n} ships.'" in result.stdout for n in range(5)] == [True] * 5


def overwrite(path: str, offset: int, value: np.ndarray) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(value.tobytes())


@pytest.mark.parametrize(
    ("damage", "defect"),
    [
        (lambda p: overwrite(f"{p}.bin", 2, np.uint16([400])), "ids from 1 to 400, with a vocabulary of 400"),
        (lambda p: overwrite(f"{p}.bin", 0, np.uint16([9])), "50.0000% of the documents begin with BOS"),
        (lambda p: overwrite(f"{p}.bin", 10, np.uint16([9])), "50.0000% of the documents end with EOS"),
        (lambda p: overwrite(f"{p}.idx", HEADER.size + 16, np.int64([2])), "1 offsets are not the sum of the lengths"),
        (lambda p: overwrite(f"{p}.idx", HEADER.size + 24, np.int64([1])), "the document boundaries do not go from 0"),
        (lambda p: overwrite(f"{p}.idx", HEADER.size, np.int32([-1, 7])), "1 sequences have a negative length"),
        (lambda p: overwrite(f"{p}.idx", HEADER.size, np.int32([9])), "the .bin has 12 bytes, the .idx speaks of 12"),
        (lambda p: Path(f"{p}.bin").unlink(), "its .bin or .idx is missing"),
    ],
)
def test_an_audit_finds_each_defect(tmp_path: Path, tokenizer_model: Path, damage: Callable, defect: str) -> None:
    sound, damaged = tmp_path / "sound", tmp_path / "damaged"
    for prefix in (sound, damaged):
        write_pair(prefix, [[1, 5, 2], [1, 6, 2]])
    damage(damaged)
    result = audit(sound, damaged, "--tokenizer-model", tokenizer_model, "--show", 1)
    assert result.returncode == 2
    assert f"    defect: {defect}" in result.stdout, result.stdout + result.stderr
    assert f"1 of 2 pairs have defects\n  where: {damaged}\n" in result.stderr


def test_an_audit_compares_the_name(tmp_path: Path) -> None:
    write_pair(tmp_path / f"{PREFIX}_dc=1_sc=1_tc=4", [[1, 5, 2]])
    result = audit(tmp_path / f"{PREFIX}_dc=1_sc=1_tc=4.idx")
    assert result.returncode == 2
    assert "the name says other counts than the index: dc=1 sc=1 tc=3" in result.stdout
