"""A larger vocabulary: old ids stay, texts take fewer tokens, and what follows from it is made by itself."""

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from sentencepiece import sentencepiece_model_pb2 as protobuf
from transformers import AutoModelForCausalLM

from llamas import change_config, make_llama, tensors_of
from pretrain_llama.checkpoints import passport
from pretrain_llama.checkpoints.expanding import expand_checkpoint
from pretrain_llama.configuration import validate
from pretrain_llama.errors import PretrainError
from pretrain_llama.shards import plan
from pretrain_llama.tokenization.tokenizer import Tokenizer
from pretrain_llama.vocabulary import expansion
from pretrain_llama.vocabulary.fertility import measure
from pretrain_llama.vocabulary.model import encoder, enlarged, load_model
from pretrain_llama.vocabulary.pieces import (
    choose,
    read_compositions,
    read_pieces,
    train_candidates,
    unreachable,
    write_pieces,
)
from pretrain_llama.vocabulary.sample import held_out, sample_texts
from project import ROOT, Project, jsonl, run_script

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
    return held_out(texts_of("ar_interface") + texts_of("ar_translated"))


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


def joinable(text: str, base: protobuf.ModelProto, new: set[str]) -> bool:
    """Whether two neighbours of a text's old encoding join to a new piece, or one of its characters is one."""
    bare = protobuf.ModelProto()
    bare.CopyFrom(base)
    bare.trainer_spec.byte_fallback = False  # characters without a piece stand as they are
    for piece in bare.pieces:
        if piece.type == protobuf.ModelProto.SentencePiece.BYTE:
            piece.type = protobuf.ModelProto.SentencePiece.UNUSED
    encode = encoder(bare)
    known = {piece.piece for piece in base.pieces}
    symbols = [s for piece in encode.encode(text, out_type=str) for s in ([piece] if piece in known else piece)]
    return any(one in new for one in symbols) or any(one + other in new for one, other in pairwise(symbols))


def test_exactly_the_texts_without_neighbours_to_join_encode_as_before(base, arabic, english) -> None:
    """As vocabulary/model.py derives it; with pieces that English uses, too."""
    pieces = choose(base, train_candidates(base, arabic[0] + english, 60), 60, [])
    old, new = encoder(base), encoder(enlarged(base, pieces))
    lines = [line for text in english[:8] + arabic[1] for line in text.split("\n") if line]
    changed = [old.encode(line) != new.encode(line) for line in lines]
    assert 0.1 < sum(changed) / len(changed) < 0.9, "both kinds are there"
    assert changed == [joinable(line, base, set(pieces)) for line in lines]


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


def test_given_pieces_are_those_that_are_new(base, tmp_path: Path) -> None:
    (tmp_path / "pieces.txt").write_text("سلام\n the\nسلام\n\n▁مرحبا\n", encoding="utf-8")
    assert "▁the" in {piece.piece for piece in base.pieces}
    assert read_pieces(tmp_path / "pieces.txt", base) == ["سلام", "▁مرحبا"]
    write_pieces(tmp_path / "pieces.tsv", base, ['"', "\t", "سلام"])
    compositions = read_compositions(tmp_path / "pieces.tsv")
    assert list(compositions) == [400, 401, 402]
    assert "".join(base.pieces[number].piece for number in compositions[402]) == "".join(
        f"<0x{byte:02X}>" for byte in "سلام".encode()
    )


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
    assert not (expanded / "tokenizer.json").exists(), "it is of the smaller vocabulary"

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


def test_a_checkpoint_of_another_vocabulary_is_refused(base, pieces, tmp_path: Path) -> None:
    source = make_llama(tmp_path / "llama", vocab_size=401)
    write_pieces(tmp_path / "pieces.tsv", base, pieces)
    with pytest.raises(PretrainError, match="401 ids are embedded, the tokenizer had 400"):
        expand_checkpoint(source, tmp_path / "pieces.tsv", tmp_path / "t.model", "mean", tmp_path / "expanded")
    assert not (tmp_path / "expanded").exists()


EXPANSION = {"tokenizer": "toy", "languages": ["ar"], "new_pieces": NEW, "unchanged_languages": ["en"]}


@pytest.fixture(scope="module")
def expanding(tmp_path_factory: pytest.TempPathFactory, tokenizer_model: Path, llama: Path) -> Project:
    """A project on the demo's Arabic and manual, whose run takes an expanded tokenizer; its data and model are made."""
    project = Project(tmp_path_factory.mktemp("expanding"), tokenizer_model, llama)
    for name in ("ar_interface/pretix.jsonl", "ar_translated/wagtail.jsonl", "en_reference/manual.jsonl"):
        project.vendor(name, (VENDOR / name).read_bytes())
    project.corpora(
        ["ar", "interface", "pretix", "vendor/ar_interface/*", "text"],
        ["ar", "translated", "wagtail", "vendor/ar_translated/*", "text"],
        ["en", "reference", "manual", "vendor/en_reference/*", "text"],
    )
    project.choose("data_ratio.json", {"ar": {"interface": 1, "translated": 1}, "en": {"reference": 1}})
    project.config |= {"shard_size_bytes": 250_000, "expansions": {"toy-ar": EXPANSION}, "held_out_fraction": 0}
    project.run["tokenizer"] = "toy-ar"
    project.save()
    return project


def test_a_dry_run_shows_all_that_an_expansion_brings(expanding: Project) -> None:
    pending = expanding.pending()
    assert not (expanding.folder / "results").exists()
    shards = pending["merge_shard"]
    assert shards > 3
    assert {rule: pending[rule] for rule in ("copy_tokenizer", "expand_vocabulary", "expand_checkpoint")} == {
        "copy_tokenizer": 1,
        "expand_vocabulary": 1,
        "expand_checkpoint": 1,
    }
    assert pending["tokenize_shard"] == shards, "with the expanded one alone, which the run names"
    assert pending["plot_fertility"] == pending["convert_checkpoint"] == pending["verify_checkpoint"] == 1
    assert expanding.pending("data")["tokenize_shard"] == 2 * shards, "with both"


@pytest.fixture(scope="module")
def expanded(expanding: Project) -> Project:
    """The project with its run's data signed, and its checkpoint expanded, converted and verified."""
    identity = identity_of(expanding)
    verified = f"results/checkpoints/toy-llama.{identity}_tp=1_pp=1.verification.json"
    signed = f"results/tokenized/{identity}/data_signature.json"
    result = expanding.snakemake(verified, signed, f"results/expansions/{identity}/fertility.png")
    assert result.returncode == 0, result.stdout + result.stderr
    return expanding


def identity_of(project: Project) -> str:
    """The identity of its expansion, as recorded, or from the paths that a dry-run shows."""
    record = project.folder / "results" / "expansions" / "toy-ar.json"
    if record.exists():
        return json.loads(record.read_text())["identity"]
    shown = project.snakemake("--dry-run").stdout
    return "toy-ar." + shown.partition("expansions/toy-ar.")[2][:8]


def test_fertility_falls_where_it_should_and_nowhere_else(expanded: Project) -> None:
    folder = expanded.folder / "results" / "expansions" / identity_of(expanded)
    found = json.loads((folder / "fertility.json").read_text())
    assert (found["vocab_size_before"], found["vocab_size_after"], found["never_used"]) == (400, 400 + NEW, [])
    domains = {(row["language"], row["domain"]): row for row in found["domains"]}
    assert domains.keys() == {("ar", "interface"), ("ar", "translated"), ("en", "reference")}
    for language, described in found["languages"].items():
        fell = described["tokens_per_word_after"] < 0.6 * described["tokens_per_word_before"]
        assert fell == (language == "ar")
        assert described["tokens_per_byte_after"] <= described["tokens_per_byte_before"]
    assert found["languages"]["en"]["unchanged"] >= 0.9 * found["languages"]["en"]["texts"]
    assert (folder / "fertility.csv").read_text().count("\n") == 4
    assert (folder / "fertility.png").stat().st_size > 10_000


def test_what_follows_takes_the_expanded_ones(expanded: Project) -> None:
    identity = identity_of(expanded)
    results = expanded.folder / "results"
    converted = passport.read(results / "checkpoints" / f"toy-llama.{identity}_tp=1_pp=1")
    assert converted["architecture"]["vocab_size"] == 400 + NEW
    assert converted["padding"]["padded_vocab_size"] == 640
    assert converted["verification"]["tensors"] > 0
    receipt = json.loads(next((results / "tokenized" / identity).glob("ar*.receipt.json")).read_text())
    assert receipt["vocab_size"] == 400 + NEW
    assert receipt["engine"].startswith("gigatoken"), "the fast engine gives the same ids"
    assert receipt["warning"] is None
    made = {"expand_vocabulary", "expand_checkpoint", "merge_shard", "tokenize_shard", "convert_checkpoint"}
    assert not made & expanded.pending().keys()


def test_later_text_changes_no_vocabulary_but_another_size_does(expanded: Project, tmp_path: Path) -> None:
    project = expanded.copied_to(tmp_path / "copy")
    project.vendor("ar_interface/later.jsonl", jsonl([f"نص جديد {number}" for number in range(50)]))
    pending = project.pending()
    assert (pending["merge_shard"], pending["tokenize_shard"]) == (1, 1)
    assert not {"expand_vocabulary", "expand_checkpoint", "convert_checkpoint"} & pending.keys()

    project.config["expansions"]["toy-ar"] = EXPANSION | {"new_pieces": NEW + 1}
    project.save()
    pending = project.pending()
    assert pending["expand_vocabulary"] == pending["expand_checkpoint"] == 1
    assert pending["tokenize_shard"] > 3, "everything is tokenized anew"
    assert pending["merge_shard"] == 1


def test_other_rows_change_the_checkpoint_alone(expanded: Project, tmp_path: Path) -> None:
    project = expanded.copied_to(tmp_path / "copy")
    project.config["expansions"]["toy-ar"] = EXPANSION | {"new_rows": "zero"}
    project.save()
    pending = project.pending()
    assert pending["expand_checkpoint"] == pending["convert_checkpoint"] == 1
    assert not {"expand_vocabulary", "tokenize_shard"} & pending.keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pieces": "pieces.txt"}, "An expansion has either languages and new_pieces"),
        ({"languages": None, "new_pieces": None}, "An expansion has either languages and new_pieces"),
        ({"new_peices": 3}, "unknown key 'new_peices'"),
        ({"new_rows": "random"}, "'random' is not one of"),
    ],
)
def test_the_schema_of_expansions_is_closed(changes: dict[str, object], message: str) -> None:
    settings = {key: value for key, value in (EXPANSION | changes).items() if value is not None}
    shipped = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    with pytest.raises(PretrainError, match=message):
        validate(shipped | {"expansions": {"toy-ar": settings}}, "config", "config.yaml")


def test_a_checkpoint_of_another_vocabulary_stops_before_any_job(project: Project, llama: Path) -> None:
    (project.folder / "llama").mkdir()
    shutil.copy(llama / "config.json", project.folder / "llama")
    change_config(project.folder / "llama", vocab_size=401)
    project.config |= {"checkpoints": {"toy-llama": "llama"}, "expansions": {"toy-ar": EXPANSION}}
    project.run["tokenizer"] = "toy-ar"
    project.save()
    result = project.snakemake("--dry-run")
    assert result.returncode != 0
    assert "401 ids are embedded, the tokenizer that 'toy-ar' enlarges has 400" in result.stdout
    assert "Traceback" not in result.stdout


def test_what_no_schema_can_say_is_checked(tokenizer_model: Path, tmp_path: Path) -> None:
    tokenizers = {"toy": Tokenizer("toy", str(tokenizer_model))}
    corpora = [plan.Corpus("ar", "news", "daily", "vendor/*", "text", "corpora.tsv:2")]
    with pytest.raises(PretrainError, match=r"unknown tokenizer 'tow'.*\n.*\n.*: toy"):
        expansion.check("x", EXPANSION | {"tokenizer": "tow"}, tokenizers, corpora)
    with pytest.raises(PretrainError, match=r"'toy' is a tokenizer as well"):
        expansion.check("toy", EXPANSION, tokenizers, corpora)
    with pytest.raises(PretrainError, match=r"unknown language 'en'"):
        expansion.check("x", EXPANSION, tokenizers, corpora)
    with pytest.raises(PretrainError, match=r"no list of pieces"):
        settings = {"tokenizer": "toy", "pieces": str(tmp_path / "pieces.txt")}
        expansion.plan_expansion("x", settings, tokenizers["toy"], {}, tmp_path / "x.json")


def unigram(path: Path, model: Path) -> None:
    changed = load_model(model)
    changed.trainer_spec.model_type = protobuf.TrainerSpec.UNIGRAM
    path.write_bytes(changed.SerializeToString())


BROKEN = {
    "no model": (lambda path, model: path.write_text("{}"), "no SentencePiece model"),
    "a Unigram model": (unigram, "the SentencePiece model is not of kind BPE"),
    "no file": (lambda path, model: None, "no SentencePiece model"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_only_bpe_models_are_enlarged(tokenizer_model: Path, tmp_path: Path, case: str) -> None:
    change, message = BROKEN[case]
    change(tmp_path / "tokenizer.model", tokenizer_model)
    with pytest.raises(PretrainError, match=message):
        load_model(tmp_path / "tokenizer.model")


def run_expand(folder: Path, model: Path, *options: object):
    shard = folder / "ar_news_daily_split_0000.jsonl"
    shard.write_bytes(jsonl([f"خبر رقم {n} من المدينة اليوم" for n in range(40)]))
    outputs = ["--output", folder / "t.model", "--pieces-output", folder / "p.tsv", "--fertility", folder / "f"]
    text = ["--tokenizer-model", model, "--shards", shard, "--text-keys", "text"]
    return run_script("expand_vocabulary.py", *text, *options, *outputs)


def test_the_program_takes_given_pieces_and_says_what_texts_do_not_yield(tokenizer_model: Path, tmp_path: Path) -> None:
    (tmp_path / "pieces.txt").write_text("خبر\nخب\nالمدينة\n", encoding="utf-8")
    result = run_expand(tmp_path, tokenizer_model, "--pieces", tmp_path / "pieces.txt")
    assert result.returncode == 0, result.stderr
    assert "warning: 1 given pieces never come about: المدينة" in result.stderr
    assert json.loads((tmp_path / "f.json").read_text())["vocab_size_after"] == 403
    assert os.path.getsize(tmp_path / "t.model") > tokenizer_model.stat().st_size

    for options, message in [
        (["--languages", "ar", "--new-pieces", 5000], "5000 are wanted"),
        (["--languages", "en", "--new-pieces", 5], "no text of en in these shards"),
        (["--languages", "ar"], "give --languages with --new-pieces, or --pieces"),
    ]:
        result = run_expand(tmp_path, tokenizer_model, *options)
        assert result.returncode == 2
        assert message in result.stderr
