"""Given pieces: each line of a list is taken or counted, and what no text can use is said."""

import random
from pathlib import Path

import pytest
from sentencepiece import sentencepiece_model_pb2 as protobuf

from pretrain_llama.vocabulary.model import encoder, enlarged, load_model
from pretrain_llama.vocabulary.pieces import read_compositions, read_list, read_pieces, unreachable, write_pieces
from project import train_tokenizer

PLAIN = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
BASES = {
    "as Llama-2's": PLAIN,
    "normalizing": {},
    "one space": {"normalization_rule_name": "identity"},
    "spaces behind words": PLAIN | {"treat_whitespace_as_suffix": True},
    "no first space": {"add_dummy_prefix": False},
}


@pytest.fixture(scope="module")
def base(tokenizer_model: Path) -> protobuf.ModelProto:
    """A model of 400 pieces, trained on English."""
    return load_model(tokenizer_model)


GIVEN = [
    "▁▁",
    ".▁",
    "▁x",
    "x▁",
    ".▁▁",
    "▁▁x",
    "\t\t",
    "\u3000\u3000",
    "\ufb01",
    "\u0301x",
    "\u2028",
    "\x85",
    "qz",
    "\u200bz",
]


@pytest.mark.parametrize("name", BASES)
def test_pieces_that_no_text_uses_are_those_that_never_come_about(tmp_path: Path, name: str) -> None:
    """Held against all texts of up to four of the pieces, of spaces and letters."""
    base = load_model(train_tokenizer(tmp_path / "tokenizer.model", **BASES[name]))
    model = enlarged(base, [piece for piece in GIVEN if piece not in {known.piece for known in base.pieces}])
    pieces = [piece.piece for piece in list(model.pieces)[len(base.pieces) :]]
    parts = [*(piece.replace("▁", " ") for piece in pieces), " ", "a", "x", ".", "e"]
    texts = ["".join(random.Random(number).choices(parts, k=1 + number % 4)) for number in range(4_000)]
    texts += [f"{before}{part}{behind}" for part in parts for before in ("", "a", " ") for behind in ("", "a", " ")]
    used = {piece for encoded in encoder(model).encode(texts, out_type=str) for piece in encoded}
    never = unreachable(model, pieces)
    assert set(never) == set(pieces) - used
    assert ("▁▁" in never) == (BASES[name].get("remove_extra_whitespaces", True))


def test_each_line_of_a_list_is_a_piece_or_counted(base, tmp_path: Path) -> None:
    """Lines end with a newline, and nothing else does: not what Python also takes for an end, or for white space."""
    kept = ["\t\t", "\u3000\u3000", "a\u2028b", "\x85", "\x0b", "\x1c\x1d", "a\rb", "\u200b", "▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁"]
    lines = [*kept, "", "   ", "▁the", "a b", "a▁b", "\t\t"]
    for end, first in (("\n", ""), ("\r\n", "\ufeff")):
        (tmp_path / "pieces.txt").write_bytes((first + "".join(f"{line}{end}" for line in lines)).encode())
        found = read_list(tmp_path / "pieces.txt", base)
        assert found.new == [*kept, "a▁b"]
        assert found.counts == {"lines": 15, "new": 10, "known": 1, "repeated": 2, "blank": 2}
    (tmp_path / "pieces.txt").write_bytes(b"ab\r\nzq\nno newline")
    assert read_list(tmp_path / "pieces.txt", base).new == ["ab\r", "zq", "no▁newline"], "lines of either kind"
    write_pieces(tmp_path / "pieces.tsv", base, kept)
    assert list(read_compositions(tmp_path / "pieces.tsv")) == list(range(400, 400 + len(kept)))


def test_given_pieces_are_those_that_are_new(base, tmp_path: Path) -> None:
    (tmp_path / "pieces.txt").write_text("سلام\n the\nسلام\n\n▁مرحبا\n", encoding="utf-8-sig")
    assert "▁the" in {piece.piece for piece in base.pieces}
    assert read_pieces(tmp_path / "pieces.txt", base) == ["سلام", "▁مرحبا"]
    write_pieces(tmp_path / "pieces.tsv", base, ['"', "\t", "سلام"])
    compositions = read_compositions(tmp_path / "pieces.tsv")
    assert list(compositions) == [400, 401, 402]
    assert "".join(base.pieces[number].piece for number in compositions[402]) == "".join(
        f"<0x{byte:02X}>" for byte in "سلام".encode()
    )
