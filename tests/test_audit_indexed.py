"""Auditing pairs of any origin: each defect is found and said, and sound documents can be read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pairs import write_pair
from pretrain_llama.tokenization.indexed import HEADER
from project import PREFIX, Result, run_script


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


def test_what_is_no_pair_is_not_called_a_defective_one(tmp_path: Path) -> None:
    """Who gives the folder of the pairs is not told to delete it."""
    write_pair(tmp_path / "pairs" / "sound", [[1, 5, 2]])
    for given in (tmp_path / "pairs", tmp_path / "pairs" / "suond.bin"):
        result = audit(tmp_path / "pairs" / "sound", given)
        assert result.returncode == 2 and "delete" not in result.stderr
        assert f"no .bin/.idx pair\n  where: {given.with_suffix('')}\n  next:  give PREFIX, PREFIX.bin" in result.stderr


def test_an_unknown_dtype_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    write_pair(tmp_path / "theirs", [[1, 5, 2]])
    overwrite(f"{tmp_path}/theirs.idx", 17, np.uint8([5]))
    said = "the .idx has version 1 and dtype code 5; known: version 1, 4 (int32), 8 (uint16)"
    assert said in audit(tmp_path / "theirs").stdout


def test_an_audit_compares_the_name(tmp_path: Path) -> None:
    write_pair(tmp_path / f"{PREFIX}_dc=1_sc=1_tc=4", [[1, 5, 2]])
    result = audit(tmp_path / f"{PREFIX}_dc=1_sc=1_tc=4.idx")
    assert result.returncode == 2
    assert "the name says other counts than the index: dc=1 sc=1 tc=3" in result.stdout


@pytest.mark.parametrize(("option", "document"), [("--without-bos", [5, 2]), ("--without-eos", [1, 5])])
def test_pairs_of_other_origin_may_lack_one_of_the_two(
    tmp_path: Path, tokenizer_model: Path, option: str, document: list[int]
) -> None:
    write_pair(tmp_path / "theirs", [document])
    assert audit(tmp_path / "theirs", "--tokenizer-model", tokenizer_model).returncode == 2
    assert audit(tmp_path / "theirs", "--tokenizer-model", tokenizer_model, option).returncode == 0
