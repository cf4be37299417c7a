"""Certificates of tokenizers: who encodes by them, so that every document gets the reference's ids."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sentencepiece import sentencepiece_model_pb2 as protobuf

from hard_texts import hard_documents
from pretrain_llama.errors import DataError, OperatorError
from pretrain_llama.exports.tokenizer_files import said, write_tokenizer_files
from pretrain_llama.files import read_json
from pretrain_llama.tokenization.certificate import Certificate
from pretrain_llama.tokenization.certifying import certify
from pretrain_llama.tokenization.distrust import TOKEN
from pretrain_llama.tokenization.engine_comparison import unequal
from pretrain_llama.tokenization.engines import Gigatoken, load_reference
from pretrain_llama.tokenization.frame import frame_of
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.tokenization.ordinary import SENTENCES
from pretrain_llama.tokenization.parity import CertifiedEngine
from pretrain_llama.tokenization.texts import Texts
from pretrain_llama.tokenization.untrusted import Pattern
from project import PREFIX, Result, deliver, jsonl, merge_shard, run_script, tokenize_shard
from trained import QWEN_2, byte_level_tokenizer, sentencepiece_model

FUZZED = 2_000  # documents: a twenty-fifth of what a real certificate has
EURO = "20AC\t45\n20AC 20AC\t45 45 45\n"  # two characters normalized together
MODELS = {
    "identity": {},
    "nfkc": {"normalization_rule_name": "nfkc"},
    "nmt_nfkc, spaces removed": {"normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": True},
    "nfkc_cf, no prefix": {"normalization_rule_name": "nfkc_cf", "add_dummy_prefix": False},
    "nmt_nfkc_cf": {"normalization_rule_name": "nmt_nfkc_cf", "split_digits": True},
    "spaces removed": {"remove_extra_whitespaces": True},
    "a rule of its own": {"rule": EURO},
    "symbols of the user": {"user_defined_symbols": ["of ships", "<tool>", "é"]},
}


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Certificate]]:
    """Train a model, once, and certify it: parity.json is beside it."""

    @cache
    def made(name: str) -> tuple[Path, Certificate]:
        folder = tmp_path_factory.mktemp("certified")
        if name in MODELS:
            path = sentencepiece_model(folder / "tokenizer.model", **MODELS[name])
        else:
            path = folder / "tokenizer.json"
            byte_level_tokenizer(*JSONS[name]).save(str(path))
        certificate = certify("toy.01234567", load_reference(path, 2), 2, FUZZED, seed=0)
        certificate.write(folder / "parity.json")
        return path, certificate

    return made


JSONS = {"Llama 3's kind": (), "Qwen 2's kind": (QWEN_2, True)}


def tokenize(folder: Path, model: Path, texts: list[str], *args: object) -> Result:
    assert merge_shard(folder, deliver(folder / "a.jsonl", jsonl(texts))).returncode == 0
    return tokenize_shard(folder, model, "--threads", 2, *args)


def documents(folder: Path) -> list[list[int]]:
    pair = IndexedReader(folder / PREFIX)
    return [ids.tolist() for ids in np.split(pair.tokens_array, np.cumsum(pair.lengths)[:-1])]


@pytest.mark.parametrize("name", [*MODELS, *JSONS])
def test_every_document_gets_the_references_ids(tmp_path: Path, certified: Callable, name: str) -> None:
    model, certificate = certified(name)
    texts = [*hard_documents(), "€ €€ €€€", "Of ships: of ships, <tool>é</tool>"]
    without_frame = ["--prepend-bos", "false", "--append-eos", "false"]
    result = tokenize(tmp_path, model, texts, *without_frame)
    assert result.returncode == 0, result.stderr
    ids, lengths = load_reference(model, 2).encode(Texts.of(text.encode() for text in texts))
    assert documents(tmp_path) == [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]
    receipt = read_json(tmp_path / f"{PREFIX}.receipt.json")
    assert (receipt["engine"], receipt["warning"]) == ("gigatoken 0.10.0", None)
    assert receipt["certificate"] == certificate.digest
    assert receipt["documents"] == len(texts) and receipt["compared"] >= 5
    assert 0.3 < 1 - receipt["by_reference"] / len(texts) <= 1, "the fast engine is of use"


@pytest.mark.parametrize("name", [*MODELS, *JSONS])
def test_the_fast_engine_alone_is_wrong_where_its_certificate_says_so_and_nowhere_else(
    certified: Callable, name: str
) -> None:
    model, certificate = certified(name)
    reference = load_reference(model, 2)
    # A letter that only one of the two knows parts a text: which pieces show it, the vocabulary says.
    seen = [f"\u088f{reference.decode([piece])}" for piece in range(reference.vocab_size)] if name in JSONS else []
    texts = Texts.of(
        text.encode() for text in [*hard_documents(), "€ €€ €€€", "Of ships: of ships, <tool>é</tool>", *seen]
    )
    wrong = unequal(Gigatoken(reference, 1).encode(texts), reference.encode(texts))
    untrusted = certificate.patterns.are_in(texts)
    assert not (wrong & ~untrusted).any()
    assert (wrong & untrusted).any() == bool(certificate.differences) == (name != "identity")
    ours = CertifiedEngine(reference, certificate, 1).encode(texts)
    assert not unequal(ours, reference.encode(texts)).any()


def test_ordinary_text_is_trusted(certified: Callable) -> None:
    """Composed, as it is typed: also where the normalizer replaces half of Unicode."""
    texts = Texts.of(sentence.encode() for sentence in SENTENCES)
    for name in ("identity", "nfkc", "nmt_nfkc, spaces removed", "nfkc_cf, no prefix", "nmt_nfkc_cf", *JSONS):
        held = certified(name)[1].patterns.are_in(texts)
        assert [SENTENCES[number] for number in np.flatnonzero(held)] == [], name


def test_a_certificate_says_what_differs_and_what_was_compared(certified: Callable) -> None:
    nfkc = certified("nfkc")[1]
    assert {"begin what the normalizer replaces as one", "differ beside marks"} <= {d["why"] for d in nfkc.differences}
    for difference in nfkc.differences:
        assert len(difference["text"]) <= 3 and difference["fast"] != difference["reference"]
    assert nfkc.compared["documents"] >= FUZZED and nfkc.compared["characters alone"] > 100_000
    assert not nfkc.alone and nfkc.seed == 0 and nfkc.seconds > 0
    of_letters = {d["text"] for d in certified("Llama 3's kind")[1].differences}
    assert "\u088f" in "".join(of_letters) and all(len(text) <= 2 for text in of_letters)
    of_symbols = certified("symbols of the user")[1]
    assert {d["why"] for d in of_symbols.differences} == {TOKEN}
    for symbol in MODELS["symbols of the user"]["user_defined_symbols"]:
        assert Pattern.of_string(TOKEN, symbol).to_json() in of_symbols.untrusted


def test_receipts_name_what_a_certificate_says_and_not_when_it_was_made() -> None:
    made = Certificate("toy.01234567", "", "", {}, "", "", compared={"documents": 1})
    assert replace(made, seconds=9.0, made_without=["a shard"]).digest == made.digest
    assert replace(made, compared={"documents": 2}).digest != made.digest
    assert replace(made, untrusted=[{"why": "", "sequence": ["0041-0041"]}]).digest != made.digest


def test_without_what_it_says_a_sample_shows_the_difference(tmp_path: Path, certified: Callable) -> None:
    """What certificates miss is our fault, and is said so."""
    model, certificate = certified("nfkc")
    blind = replace(certificate, untrusted=[])
    blind.write(tmp_path / "blind.json")
    texts = [
        "Tie\u0302\u0301ng Vie\u0323\u0302t, again and again. " * 40,
        *(f"A tale {number}." for number in range(40)),
    ]
    result = tokenize(tmp_path, model, texts, "--certificate", tmp_path / "blind.json")
    assert result.returncode == 0, result.stderr
    assert (
        "in spite of the certificate" in result.stderr
        and "this is a fault of pretrain-llama: report it" in result.stderr
    )
    receipt = read_json(tmp_path / f"{PREFIX}.receipt.json")
    assert receipt["engine"].startswith("sentencepiece") and receipt["by_reference"] == len(texts)
    assert "in the document that begins 'Tie" in receipt["warning"]
    stopped = tokenize(
        tmp_path, model, texts, "--certificate", tmp_path / "blind.json", "--on-engine-difference", "fail"
    )
    assert stopped.returncode == 2 and "report it" in stopped.stderr
    assert "\nour own error: gigatoken 0.10.0 and sentencepiece" in stopped.stderr, "after a line of its progress"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"model_type": "unigram", "hard_vocab_limit": False}, "gigatoken cannot load the model"),
        (
            {"model_type": "unigram", "byte_fallback": False, "hard_vocab_limit": False},
            "gigatoken cannot load the model",
        ),
        ({"treat_whitespace_as_suffix": True}, "gigatoken cannot load the model"),
        ({"user_defined_symbols": ["e"]}, "gigatoken 0.10.0 gives"),
    ],
)
def test_where_most_text_would_be_untrusted_the_reference_encodes_all(tmp_path: Path, options: dict, why: str) -> None:
    model = sentencepiece_model(tmp_path / "tokenizer.model", **options)
    made = run_script(
        "certify_tokenizer.py",
        *("--tokenizer", "toy.01234567", "--tokenizer-model", model, "--output", tmp_path / "parity.json"),
    )
    assert made.returncode == 0 and f"toy.01234567: sentencepiece 0.2.3 encodes all documents: {why}" in made.stdout
    texts = ["A tale of ships\tand  storms.", "e\u0301"]
    assert tokenize(tmp_path, model, texts).returncode == 0
    receipt = read_json(tmp_path / f"{PREFIX}.receipt.json")
    assert receipt["engine"] == "sentencepiece 0.2.3" and receipt["by_reference"] == 2
    assert why in receipt["warning"]
    stopped = tokenize(tmp_path, model, texts, "--on-engine-difference", "fail")
    assert stopped.returncode == 2 and "set on_engine_difference: fallback in config.yaml" in stopped.stderr


def test_without_a_certificate_the_reference_encodes_all(tmp_path: Path, tokenizer_model: Path) -> None:
    result = tokenize(tmp_path, tokenizer_model, ["A tale."])
    assert result.returncode == 0 and "the tokenizer has no certificate at" in result.stderr
    receipt = read_json(tmp_path / f"{PREFIX}.receipt.json")
    assert receipt["engine"].startswith("sentencepiece") and receipt["certificate"] == ""


def test_a_certificate_of_something_else_is_refused(tmp_path: Path, certified: Callable) -> None:
    model, certificate = certified("identity")
    reference = load_reference(model)
    for change in ({"fast": "gigatoken 0.9.0"}, {"reference": "sentencepiece 0.1"}, {"model_sha256": "0" * 64}):
        with pytest.raises(OperatorError, match=r"certificate has .*, and now it is .*\n.*\n.*--forcerun certify"):
            replace(certificate, **change).check(reference, "parity.json")
    named = load_reference(model, eos_token="<s>")
    with pytest.raises(OperatorError, match="the tokenizer's certificate has named"):
        certificate.check(named, "parity.json")
    for content in ("[]", '{"format": 1}', "{"):  # format 1 was made before tied pieces were looked for
        (tmp_path / "parity.json").write_text(content)
        with pytest.raises(DataError, match=r"no certificate of this version|no JSON"):
            Certificate.read(tmp_path / "parity.json")


def test_the_program_certifies_and_shows_progress(tmp_path: Path, tokenizer_model: Path) -> None:
    made = run_script(
        "certify_tokenizer.py",
        *("--tokenizer", "toy.01234567", "--tokenizer-model", tokenizer_model, "--threads", 2),
        *("--fuzzed-documents", 500, "--seed", 3, "--output", tmp_path / "parity.json"),
    )
    assert made.returncode == 0, made.stderr
    assert "none differs; gigatoken 0.10.0 encodes all documents without what is untrusted" in made.stdout
    assert "toy.01234567: characters alone: 100 %" in made.stderr
    certificate = Certificate.read(tmp_path / "parity.json")
    assert certificate.seed == 3 and certificate.compared["documents"] >= 500
    assert [pattern["why"] for pattern in certificate.untrusted] == ["not compared"]
    private = Texts.of([b"plain", "\U000f0000".encode()])
    assert certificate.patterns.are_in(private).tolist() == [False, True]


def test_a_model_of_tied_pieces_is_the_references_alone(tmp_path: Path) -> None:
    """As people enlarge a model by hand: all new pieces score 0. Which one is joined first, the text decides."""
    path = sentencepiece_model(tmp_path / "tokenizer.model")
    model = protobuf.ModelProto.FromString(path.read_bytes())
    model.DiscardUnknownFields()
    for piece in ("qz", "zk", "kq"):
        model.pieces.add(piece=piece, score=0)
    path.write_bytes(model.SerializeToString())
    reference = load_reference(path)
    texts = Texts.of([b"zkqz", b"qzkq", b"kqzk", b"qzk", b"zkq", b"kqz"])
    assert unequal(Gigatoken(reference, 1).encode(texts), reference.encode(texts)).any()
    assert "'qz', 'zk', 'kq' have one score" in certify("toy.01234567", reference, 1, 0, seed=0).alone
    record = write_tokenizer_files(reference, frame_of(reference, True, True), ["the sea"], tmp_path / "huggingface")
    assert "'qz', 'zk', 'kq' have one score" in said(record)[0]


RUNS = [2, 4, 8, 5, 16, 6, 12, 13, 10, 14, 3, 9, 7, 11]  # of 15 there is none; Llama 2 has such pieces


def model_of_runs(path: Path, **scores: float) -> Path:
    """A model with pieces of white space that have one score, the lowest, and others."""
    model = protobuf.ModelProto.FromString(sentencepiece_model(path).read_bytes())
    model.DiscardUnknownFields()
    kept = [piece for piece in model.pieces if "▁▁" not in piece.piece]
    del model.pieces[:]
    model.pieces.extend(kept)
    for length in RUNS:
        model.pieces.add(piece=length * "▁", score=-1e9)
    for piece, score in scores.items():
        model.pieces.add(piece=piece, score=score)
    path.write_bytes(model.SerializeToString())
    return path


def test_tied_runs_of_one_character_are_compared_at_every_length(tmp_path: Path) -> None:
    reference = load_reference(model_of_runs(tmp_path / "tokenizer.model"))
    assert reference.tied_runs == [16 * "▁"]
    certificate = certify("toy.01234567", reference, 1, 0, seed=0)
    assert certificate.alone == ""
    assert certificate.compared["runs of tied pieces"] == 2 * 2 * 8 * 16**2


@pytest.mark.parametrize("piece, score", [(".▁▁", -1.0), ("▁▁x", -1.0), (".▁", -2e9)])
def test_tied_runs_that_others_may_be_joined_of_are_the_references(tmp_path: Path, piece: str, score: float) -> None:
    reference = load_reference(model_of_runs(tmp_path / "tokenizer.model", **{piece: score}))
    assert reference.tied_runs == []
    assert "have one score" in certify("toy.01234567", reference, 1, 0, seed=0).alone
