"""Auditing pairs of any origin: each defect is found and said, and sound documents can be read."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pairs import write_pair
from pretrain_llama.tokenization.indexed import HEADER, IndexedReader
from project import PREFIX, SHARD, Result, deliver, merge_shard, run_script, tokenize_shard


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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tokenizer_model: Path) -> Path:
    """A folder with a shard, merged and tokenized: with a blank line, rejected ones, and a third held out."""
    folder = tmp_path_factory.mktemp("made")
    lines = [f'{{"text": "A tale of {number} ships."}}'.encode() for number in range(60)]
    lines[10:10] = [b"", b"no json", b'{"text": "' + b"long " * 900 + b'"}']
    assert merge_shard(folder, deliver(folder / "a.jsonl", b"\n".join([*lines, b""]))).returncode == 0
    options = ["--max-rejected-fraction", 0.9, "--held-out-fraction", 0.3, "--max-line-bytes", 4000]
    assert tokenize_shard(folder, tokenizer_model, *options).returncode == 0
    return folder


def audit_text(made: Path, model: Path, pair: str, *args: object, fraction: float = 0.3) -> Result:
    text = ["--jsonl", made / "shard.jsonl", "--held-out-fraction", fraction, "--max-line-bytes", 4000]
    return audit(made / pair, "--tokenizer-model", model, *text, *args)


def test_ids_are_compared_with_those_of_the_text(made: Path, tokenizer_model: Path) -> None:
    documents = [IndexedReader(made / pair).documents for pair in (PREFIX, f"{SHARD}_held_out_document")]
    assert sum(documents) == 60 and documents[1] > 5
    for pair, count in zip((PREFIX, f"{SHARD}_held_out_document"), documents, strict=True):
        result = audit_text(made, tokenizer_model, pair, "--documents", "all")
        assert result.returncode == 0, result.stderr
        assert f"    {count} documents compared with {made / 'shard.jsonl'}: 0 have other ids" in result.stdout
    assert "7 documents compared" in audit_text(made, tokenizer_model, PREFIX, "--documents", 7).stdout


def test_a_document_with_other_ids_is_found_and_shown(made: Path, tokenizer_model: Path, tmp_path: Path) -> None:
    for suffix in (".bin", ".idx"):
        shutil.copy(made / f"{PREFIX}{suffix}", tmp_path / f"{PREFIX}{suffix}")
    reader = IndexedReader(tmp_path / PREFIX)
    overwrite(f"{tmp_path / PREFIX}.bin", int(reader.offsets[20]) + 4, np.uint16([9]))
    result = audit_text(made, tokenizer_model, str(tmp_path / PREFIX), "--documents", "all")
    assert result.returncode == 2
    assert "1 have other ids" in result.stdout
    assert "defect: other ids than sentencepiece 0.2.3 gives: document 20, 'A tale of " in result.stdout
    assert "run snakemake, which tokenizes their shards again" in result.stderr


def test_a_pair_of_another_shard_or_fraction_is_told(made: Path, tokenizer_model: Path) -> None:
    result = audit_text(made, tokenizer_model, PREFIX, fraction=0.1)
    assert result.returncode == 2
    assert re.search(r"data error: the shard has \d+ documents, the pair \d+\n  where: .*shard.jsonl\n", result.stderr)
    usage = audit(made / PREFIX, made / f"{SHARD}_held_out_document", "--jsonl", made / "shard.jsonl")
    assert usage.returncode == 2 and "--jsonl goes with one pair, and with --tokenizer-model" in usage.stderr
    assert "no whole number" in audit_text(made, tokenizer_model, PREFIX, "--documents", "most").stderr
