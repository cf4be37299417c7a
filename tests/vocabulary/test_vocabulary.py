"""A larger vocabulary: old ids stay, texts take fewer tokens, and a checkpoint gets rows for the new ids."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from sentencepiece import sentencepiece_model_pb2 as protobuf
from transformers import AutoModelForCausalLM, AutoTokenizer

from llamas import change_config, make_llama, tensors_of
from pretrain_llama.checkpoints import passport
from pretrain_llama.errors import PretrainError
from pretrain_llama.exports.agreement import is_same
from pretrain_llama.vocabulary.checkpoint import expand_checkpoint
from pretrain_llama.vocabulary.fertility import measure
from pretrain_llama.vocabulary.model import encoder, enlarged, load_model
from pretrain_llama.vocabulary.pieces import (
    choose,
    encode_alone,
    read_compositions,
    train_candidates,
    unreachable,
    write_pieces,
)
from pretrain_llama.vocabulary.sample import divide, sample_texts
from project import ROOT, jsonl, train_tokenizer

VENDOR = ROOT / "resources" / "demo" / "vendor"
NEW = 150


def texts_of(corpus: str) -> list[str]:
    """The texts of one of the demo's corpora, in files that are not compressed."""
    lines = [line for path in sorted((VENDOR / corpus).glob("*.jsonl")) for line in path.open("rb")]
    return [document.get("text") or document["content"] for document in map(json.loads, lines)]


@pytest.fixture(scope="module")
def base(tokenizer_model: Path) -> protobuf.ModelProto:
    """A model of 400 pieces, trained on English."""
    return load_model(tokenizer_model)


@pytest.fixture(scope="module")
def arabic() -> tuple[list[str], list[str]]:
    """Real Arabic, to train on and to measure on."""
    return divide(texts_of("ar_interface") + texts_of("ar_translated"))


@pytest.fixture(scope="module")
def english() -> list[str]:
    return texts_of("en_reference")


@pytest.fixture(scope="module")
def pieces(base: protobuf.ModelProto, arabic: tuple, english: list[str]) -> list[str]:
    """New pieces of Arabic, none of which English uses."""
    return choose(base, train_candidates(base, arabic[0], NEW), NEW, english[:20])


def test_old_ids_stay_and_arabic_takes_fewer_tokens(base, pieces, arabic, english) -> None:
    model = enlarged(base, pieces)
    assert list(model.pieces)[:400] == list(base.pieces)
    assert [piece.piece for piece in list(model.pieces)[400:]] == pieces
    old, new = encoder(base), encoder(model)
    assert new.vocab_size() == 400 + NEW
    found = measure(arabic[1], old, new)
    assert found.tokens_after < 0.5 * found.tokens_before, "the old one has no Arabic"
    used = {number for ids in new.encode(arabic[0]) for number in ids}
    assert sum(number in used for number in range(400, 400 + NEW)) > 0.95 * NEW, "the pieces are used"
    assert [new.decode(ids) for ids in new.encode(arabic[1])] == arabic[1]
    assert measure(english[:20], old, new).unchanged == 20
    assert measure(english[20:], old, new).unchanged > 0.7 * len(english[20:]), "though it looked at others"
    assert unreachable(model, pieces) == []


def test_the_choice_is_the_same_every_time(base, pieces, arabic, english) -> None:
    assert choose(base, train_candidates(base, arabic[0], NEW), NEW, english[:20]) == pieces


def joinable(base: protobuf.ModelProto, new: set[str]) -> Callable[[str], bool]:
    """What says of a text whether two neighbours of its old encoding join to a new piece, or a character is one."""
    bare = protobuf.ModelProto()
    bare.CopyFrom(base)
    bare.trainer_spec.byte_fallback = False  # characters without a piece stand as they are
    user_defined = {piece.piece for piece in base.pieces if piece.type == piece.USER_DEFINED}
    for piece in bare.pieces:
        if piece.type == piece.UNUSED:  # as they were joined, before they are taken apart
            piece.type = piece.NORMAL
        if piece.type == piece.BYTE:
            piece.type = piece.UNUSED
    encode, known = encoder(bare), {piece.piece for piece in base.pieces}

    def is_joinable(text: str) -> bool:
        symbols = [s for piece in encode.encode(text, out_type=str) for s in ([piece] if piece in known else piece)]
        joins = (one + other for one, other in pairwise(symbols) if not user_defined & {one, other})
        return not new.isdisjoint(symbols) or not new.isdisjoint(joins)

    return is_joinable


def with_unused(model: protobuf.ModelProto) -> protobuf.ModelProto:
    """The model with each third of its longer pieces unused."""
    changed = protobuf.ModelProto()
    changed.CopyFrom(model)
    for piece in [piece for piece in changed.pieces if piece.type == piece.NORMAL and len(piece.piece) > 2][::3]:
        piece.type = piece.UNUSED
    return changed


PLAIN = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
BASES = {
    "as Llama-2's": PLAIN,
    "with user-defined symbols": PLAIN | {"user_defined_symbols": ["the", "in", "ال", "=="]},
    "with unused pieces": PLAIN,
    "normalizing": {},
    "without bytes": PLAIN | {"byte_fallback": False},
    "spaces behind words": PLAIN | {"treat_whitespace_as_suffix": True},
}


@pytest.mark.parametrize("name", BASES)
def test_exactly_the_texts_without_neighbours_to_join_encode_as_before(arabic, english, tmp_path, name) -> None:
    """As vocabulary/model.py derives it; with pieces that English uses, too."""
    base = load_model(train_tokenizer(tmp_path / "tokenizer.model", **BASES[name]))
    base = with_unused(base) if "unused" in name else base
    lines = [line for text in english[:8] + arabic[1] for line in text.split("\n") if line]
    grams = Counter(line[at : at + size] for line in lines for size in (1, 2, 3) for at in range(len(line) - size))
    known = {piece.piece for piece in base.pieces}
    common = [gram.replace(" ", "▁") for gram, _ in grams.most_common(1_500)]
    pieces = choose(base, [piece for piece in common if piece not in known], 60, [])
    old, new = encoder(base), encoder(enlarged(base, pieces))
    changed = [old.encode(line) != new.encode(line) for line in lines]
    assert 0.1 < sum(changed) / len(changed) < 0.9, "both kinds are there"
    assert changed == list(map(joinable(base, set(pieces)), lines))


def toy_model(*pieces: str) -> protobuf.ModelProto:
    """A model of some pieces, the first of which scores highest."""
    model = protobuf.ModelProto()
    model.pieces.add(piece="<unk>", type=protobuf.ModelProto.SentencePiece.UNKNOWN)
    for number, piece in enumerate(pieces):
        model.pieces.add(piece=piece, score=-number, type=protobuf.ModelProto.SentencePiece.NORMAL)
    model.trainer_spec.model_type = protobuf.TrainerSpec.BPE
    return model


def test_a_text_may_change_without_a_new_piece(base) -> None:
    """abc is an old piece that no order of old joins reaches; ab leads to it, and is gone in the end."""
    old = toy_model("▁", "a", "b", "c", "abc")
    found = measure(["abc", "b", "ab"], encoder(old), encoder(enlarged(old, ["ab"])))
    assert (found.texts, found.unchanged, found.without_new_pieces, found.changed_without_new_pieces) == (3, 1, 2, 1)


def test_a_piece_that_cannot_come_about_is_not_chosen() -> None:
    """xyz is joined from xy or yz only; without either it is dead."""
    base = toy_model("▁", "x", "y", "z")
    assert unreachable(enlarged(base, ["xyz"]), ["xyz"]) == ["xyz"]
    assert choose(base, ["xyz", "yy", "zz"], 2, []) == ["yy", "zz"]
    assert choose(base, ["xyz", "xy", "zz"], 2, []) == ["xyz", "xy"]


def test_a_sample_is_spread_over_a_shard_and_holds_whole_documents(tmp_path: Path) -> None:
    shard = tmp_path / "en_books_tales_split_0000.jsonl"
    shard.write_bytes(jsonl([f"document {number}" for number in range(10_000)]) + b"broken\n")
    everything = sample_texts(shard, "text", 1 << 30, 1 << 20)
    assert everything == [f"document {number}" for number in range(10_000)]
    some = sample_texts(shard, "text", shard.stat().st_size // 10, 1 << 20)
    numbers = [int(text.split()[1]) for text in some]
    assert 800 < len(some) < 1300
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    assert numbers[-1] > 9_800


@pytest.mark.parametrize(
    ("new_rows", "tied"), [("mean_of_pieces", False), ("mean", False), ("zero", False), ("zero", True)]
)
def test_a_checkpoint_keeps_its_logits_and_gets_rows(base, pieces, tmp_path: Path, new_rows: str, tied: bool) -> None:
    source = make_llama(tmp_path / "llama", vocab_size=400, dtype="bfloat16", tie_word_embeddings=tied)
    (source / "tokenizer.json").write_text("{}")
    (source / "tokenizer_config.json").write_text('{"pad_token": "<pad>"}')
    write_pieces(tmp_path / "pieces.tsv", base, pieces)
    (tmp_path / "tokenizer.model").write_bytes(enlarged(base, pieces).SerializeToString())
    expanded = tmp_path / "expanded"
    expand_checkpoint(source, tmp_path / "pieces.tsv", tmp_path / "tokenizer.model", new_rows, expanded)

    before, after = tensors_of(source), tensors_of(expanded)
    compositions = read_compositions(tmp_path / "pieces.tsv")
    vocabulary = [name for name in ("model.embed_tokens.weight", "lm_head.weight") if name in before]
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - {*vocabulary})
    for name in vocabulary:
        rows = before[name].double()
        wanted = torch.stack([rows[ids].mean(0) for ids in compositions.values()])
        if new_rows == "mean":
            wanted = rows.mean(0).expand_as(wanted)
        if new_rows == "zero" and name == vocabulary[-1]:
            wanted = torch.zeros_like(wanted)
        assert torch.equal(after[name][:400], before[name])
        assert torch.equal(after[name][400:], wanted.float().bfloat16())
    recorded = passport.read(expanded)
    assert recorded["expansion"] == {"from": 400, "to": 400 + NEW, "rows": new_rows}
    assert "tokenizer_config.json: pad_token: '<pad>' -> None" in recorded["tokenizer"]["changed"]
    assert is_same(recorded["tokenizer"]["compared"])
    tokenizer, text = AutoTokenizer.from_pretrained(expanded), "خبر رقم 3 من المدينة"
    assert len(tokenizer) == 400 + NEW
    assert tokenizer.encode(text, add_special_tokens=False) == encoder(enlarged(base, pieces)).encode(text)

    tokens = torch.arange(64).view(1, -1)
    logits = [
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(tokens).logits
        for folder in (source, expanded)
    ]
    assert logits[1].shape[-1] == 400 + NEW
    assert torch.allclose(logits[0], logits[1][..., :400], rtol=0, atol=1e-6)
    assert logits[0].abs().max() > 1
    if new_rows == "zero":
        assert (logits[1][..., 400:] == 0).all()


def test_an_expanded_checkpoint_names_the_dtype_that_its_weights_have(base, pieces, tmp_path: Path) -> None:
    """Those of Megatron-LM's trainings may be fp32, of a model that was published in bf16."""
    source = make_llama(tmp_path / "llama", vocab_size=400)
    change_config(source, dtype="bfloat16")
    write_pieces(tmp_path / "pieces.tsv", base, pieces)
    (tmp_path / "tokenizer.model").write_bytes(enlarged(base, pieces).SerializeToString())
    expanded = tmp_path / "expanded"
    expand_checkpoint(source, tmp_path / "pieces.tsv", tmp_path / "tokenizer.model", "mean", expanded)
    assert AutoModelForCausalLM.from_pretrained(expanded, dtype="auto").dtype == torch.float32


def test_pieces_of_any_character_are_read_as_they_were_written(base, tmp_path: Path) -> None:
    """Vendors' texts hold carriage returns within lines, tabs and quotes, and all may become pieces."""
    pieces = ["\r", "ab\r", "\t", '"', 'q"', "\u2028", "خب"]
    write_pieces(tmp_path / "pieces.tsv", base, pieces)
    read = read_compositions(tmp_path / "pieces.tsv")
    assert list(read) == list(range(400, 407))
    assert list(read.values()) == encode_alone(base, pieces)


ROWS = "id\tpiece\tbefore\n400\tab\t1 2\n"


@pytest.mark.parametrize(
    "table",
    [
        "",
        "id\tpiece\tbefore\n",
        "id,piece,before\n400,ab,1\n",
        *(ROWS + row for row in ("402\tcd\t1\n", "401\tcd\t\n", "401\tcd\t400\n", "401\tcd\n", "x\tcd\t1\n")),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, table: str) -> None:
    """An id that the old tokenizer has not would take its row from beyond the old ones."""
    (tmp_path / "pieces.tsv").write_text(table)
    with pytest.raises(PretrainError, match=r"no table of new pieces: .*\n  where: .*pieces\.tsv\n  next:  give the"):
        read_compositions(tmp_path / "pieces.tsv")


def test_a_tokenizer_that_is_not_the_one_of_the_pieces_is_refused(base, tmp_path: Path) -> None:
    source, given = make_llama(tmp_path / "llama", vocab_size=400), tmp_path / "tokenizer.model"
    write_pieces(tmp_path / "pieces.tsv", base, ["خبر", "خب"])
    for pieces, message in [
        ([], "the tokenizer has 400 ids, the new pieces make them 402"),
        (["خبر", "خب", "نص"], "the tokenizer has 403 ids, the new pieces make them 402"),
        (["خبر", "نص"], "1 ids of the tokenizer are no new pieces of the table: 401 is نص"),
    ]:
        given.write_bytes(enlarged(base, pieces).SerializeToString())
        with pytest.raises(PretrainError, match=message):
            expand_checkpoint(source, tmp_path / "pieces.tsv", given, "mean", tmp_path / "expanded")
    given.write_text("no tokenizer")
    with pytest.raises(PretrainError, match="no SentencePiece model"):
        expand_checkpoint(source, tmp_path / "pieces.tsv", given, "mean", tmp_path / "expanded")
    assert not (tmp_path / "expanded").exists()


def test_a_checkpoint_of_another_vocabulary_is_refused(base, pieces, tmp_path: Path) -> None:
    source = make_llama(tmp_path / "llama", vocab_size=401)
    write_pieces(tmp_path / "pieces.tsv", base, pieces)
    with pytest.raises(PretrainError, match="401 ids are embedded, the tokenizer had 400"):
        expand_checkpoint(source, tmp_path / "pieces.tsv", tmp_path / "t.model", "mean", tmp_path / "expanded")
    assert not (tmp_path / "expanded").exists()
