"""A pair without some of its documents: no byte of them is left, whatever dies meanwhile."""

from pathlib import Path

import pytest

from keyed import key_of, texts_of, tokenized
from pretrain_llama.names import HELD_OUT_SUFFIX, PREFIX_SUFFIX
from pretrain_llama.receipts import TokenizeReceipt
from pretrain_llama.tokenization.keys import read_keys
from pretrain_llama.tokenization.withdrawn import are_among, parse_keys
from pretrain_llama.withdrawal.pairs import take_out

SHARD = "en_books_tales_split_0000"
TEXTS, HELD_OUT = ["one", "secret", "two", "three", "secret"], ["four", "secret"]
KEYS = parse_keys({key_of("secret"), key_of("not there")})


def check_gone(folder: Path) -> None:
    assert texts_of(folder / f"{SHARD}{PREFIX_SUFFIX}") == ["one", "two", "three"]
    assert texts_of(folder / f"{SHARD}{HELD_OUT_SUFFIX}") == ["four"]
    for suffix, count in ((PREFIX_SUFFIX, 3), (HELD_OUT_SUFFIX, 1)):
        assert not are_among(read_keys(folder / f"{SHARD}{suffix}", count), KEYS).any()
    receipt = TokenizeReceipt.read(folder / f"{SHARD}{PREFIX_SUFFIX}.receipt.json")
    assert receipt.adds_up()
    assert (receipt.documents, receipt.held_out_documents, receipt.withdrawn, receipt.lines) == (3, 1, 3, 7)
    assert (receipt.tokens, receipt.held_out_tokens) == (11, 4)
    secret = "".join(f"{letter}\0" for letter in "secret").encode()
    assert not any(secret in path.read_bytes() for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("renames", range(9))
def test_killed_at_any_moment_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    folder, beside = tmp_path / "tokenized", tmp_path / "beside"
    tokenized(folder, SHARD, TEXTS, HELD_OUT)
    (folder / f"{SHARD}{PREFIX_SUFFIX}.dropped").write_bytes(bytes(4))
    left, rename = [renames], Path.rename

    def die(path: Path, target: Path) -> Path:
        if path.parent == beside:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", die)
    try:
        take_out(folder, SHARD, KEYS, beside)
    except KeyboardInterrupt:
        assert renames < 7
        monkeypatch.undo()
        take_out(folder, SHARD, KEYS, beside)
    else:
        assert renames >= 7, "two pairs, their keys, and a receipt"
    check_gone(folder)
    assert not (folder / f"{SHARD}{PREFIX_SUFFIX}.dropped").exists(), "its numbers are others now"
    take_out(folder, SHARD, KEYS, beside)
    check_gone(folder)


def test_killed_before_the_new_files_are_whole_they_are_made_again(tmp_path: Path) -> None:
    folder, beside = tmp_path / "tokenized", tmp_path / "beside"
    tokenized(folder, SHARD, TEXTS, HELD_OUT)
    beside.mkdir()
    (beside / f"{SHARD}{PREFIX_SUFFIX}.bin").write_bytes(b"half")
    take_out(folder, SHARD, KEYS, beside)
    check_gone(folder)
