"""SentencePiece models of all kinds as a tokenizer.json: AutoTokenizer gives the ids that SentencePiece gives."""

import io
import json
import random
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as protobuf
from transformers import AutoTokenizer

from pretrain_llama.exports import agreement, normalization
from pretrain_llama.exports.agreement import compare, is_same
from pretrain_llama.exports.sentencepiece_json import normalizer
from pretrain_llama.exports.tokenizer_files import said, write_tokenizer_files
from pretrain_llama.tokenization import charsmap
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.frame import frame_of

VIETNAMESE = "Tiếng Việt là ngôn ngữ của người Việt, và là ngôn ngữ chính thức tại Việt Nam. "
ARABIC = "السَّلَامُ عَلَيْكُمْ وَرَحْمَةُ اللهِ، ٱلْحَمْدُ لِلَّٰهِ خبر رقم ١٢ من المدينة "
LINES = ["emoji 🦙 日本語 ไทย हिन्दी 한국어 ①② ﬁ Ⅳ"] * 20 + [VIETNAMESE, ARABIC] * 20
LINES += "\n".join(topics.values()).split("\n")[:1500]
LLAMA_2 = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
NAMES = {"bos_piece": "<|begin_of_text|>", "eos_piece": "<|end_of_text|>", "unk_piece": "<|unk|>", "pad_id": 3}
SYMBOLS = {"user_defined_symbols": ["<sep>", "<a>", "<ab>", "\n", "1", "①"]}
SPACES = {"user_defined_symbols": ["▁▁", "▁▁▁▁", "\t"]}
KINDS: dict[str, dict[str, object]] = {
    "as Llama 2's": LLAMA_2,
    "Llama 3's names": LLAMA_2 | NAMES,
    "no space before a text": LLAMA_2 | {"add_dummy_prefix": False},
    "identity, extra spaces removed": {"normalization_rule_name": "identity"},
    "spaces behind words": {"normalization_rule_name": "identity", "treat_whitespace_as_suffix": True},
    "nmt_nfkc, the trainer's own, with symbols": SYMBOLS,
    "nfkc, all spaces": LLAMA_2 | {"normalization_rule_name": "nfkc"},
    "nmt_nfkc_cf, Unigram": {"normalization_rule_name": "nmt_nfkc_cf", "model_type": "unigram"},
    "nfkc_cf, without byte fallback": {"normalization_rule_name": "nfkc_cf", "byte_fallback": False},
    "symbols, no space before": LLAMA_2 | SYMBOLS | {"add_dummy_prefix": False},
    "symbols that are spaces": {"normalization_rule_name": "identity"} | SPACES,
    "Unigram with symbols": LLAMA_2 | SYMBOLS | {"model_type": "unigram"},
    "characters": LLAMA_2 | {"model_type": "char"},
}


def train(path: Path, **options: object) -> Path:
    model = io.BytesIO()
    sizes = {"vocab_size": 900, "model_type": "bpe", "byte_fallback": True, "hard_vocab_limit": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, minloglevel=2, **(sizes | options)
    )
    path.write_bytes(model.getvalue())
    return path


def export(model: Path, output: Path, texts: Iterator[str] | list[str]) -> dict:
    reference = load_reference(model)
    return write_tokenizer_files(reference, frame_of(reference, True, True), texts, output)


def texts_for(model: Path) -> Iterator[str]:
    """Texts that part tokenizers, and the model's own pieces and symbols, joined at random."""
    draw = random.Random(0)
    proto = protobuf.ModelProto.FromString(model.read_bytes())
    pieces = [piece.piece for piece in proto.pieces if piece.type == piece.NORMAL]
    symbols = [piece.piece for piece in proto.pieces if piece.type == piece.USER_DEFINED]
    others = [piece.piece for piece in proto.pieces if piece.type not in (piece.NORMAL, piece.USER_DEFINED)]
    yield from ("", " ", "   ", " leading", "  two", "trail ", "a  b   c", "\n", "a\r\nb", "\t\ttab", "▁", "▁▁a ▁ b ▁")
    yield from ("e\u0301 ﬁ\u0301 ﻻ\u0653 ﷺ", "\ufeff \u200b\u200f \ufffd", "NUL \0 and \x07", "\ufdd0\ufdd1\ufdd2 2 0")
    for text in (VIETNAMESE, ARABIC, "한국어 が ぱ Å", "ﾊﾟ ｆｕｌｌ", *LINES[::50]):
        yield from (text, unicodedata.normalize("NFD", text), unicodedata.normalize("NFKC", text))
    for name in [*symbols, *others]:
        yield from (name, f" {name}", f"{name} x", f"a{name}b {name}  c", name * 2)
    characters = [chr(draw.randrange(0x20, 0xD7FF)) for _ in range(500)]
    marks = ["\u0301", "\u0323", "\u064b", "\u0302", "\u200d", "\u1161", "\u11a8"]
    pools = [pieces, [piece.replace("▁", " ") for piece in pieces], [*" \n\t aeiou.01"], characters, marks]
    pools += [symbols] if symbols else []
    for _ in range(400):
        yield "".join(draw.choice(draw.choice(pools)) for _ in range(draw.randint(1, 25)))


@pytest.mark.parametrize("kind", KINDS)
def test_autotokenizer_gives_the_ids_of_sentencepiece(tmp_path: Path, kind: str) -> None:
    model = train(tmp_path / "tokenizer.model", **KINDS[kind])
    record = export(model, tmp_path / "export", texts_for(model))
    assert said(record) == []
    compared = record["compared"]
    assert compared["texts"] > 500 and compared["naming"] > 10
    theirs = AutoTokenizer.from_pretrained(tmp_path / "export")
    own = sentencepiece.SentencePieceProcessor(model_file=str(model))
    assert len(theirs) == own.vocab_size()
    assert (theirs.bos_token_id, theirs.eos_token_id) == (own.bos_id(), own.eos_id())
    for text in (VIETNAMESE, f" {ARABIC}", "a  b <x> ", "1"):
        ids = own.encode(text)
        if own.unk_id() not in ids:  # which SentencePiece shows as a sign of its own
            assert theirs.decode(theirs.encode(text), skip_special_tokens=True) == own.decode(ids)


def test_as_llama_2s_it_would_be_another_tokenizer(tmp_path: Path) -> None:
    """What transformers makes of the .model alone, so that the comparisons above are of something."""
    for kind in ("as Llama 2's", "identity, extra spaces removed", "Llama 3's names"):
        model = train(tmp_path / "tokenizer.model", **KINDS[kind])
        reference = load_reference(model)
        alone = tmp_path / kind
        alone.mkdir()
        shutil.copy(model, alone)
        (alone / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
        found = compare(alone, reference, frame_of(reference, False, True), texts_for(model))
        assert not is_same(found)
        assert 3 < found["differ"] < found["texts"] / 2
        assert len(found["examples"]) == 5
        lengths = [len(example["text"]) for example in found["examples"]]
        assert lengths == sorted(lengths) and lengths[0] < 10
        assert any("ids above the" in problem for problem in found["problems"]) == (kind == "Llama 3's names")


def test_each_rule_of_a_normalizer_is_kept(tmp_path: Path) -> None:
    """All 226,000 of the largest, and some joined at random, where one may reach into the next."""
    proto = protobuf.ModelProto.FromString(
        train(tmp_path / "m.model", normalization_rule_name="nmt_nfkc_cf").read_bytes()
    )
    proto.normalizer_spec.add_dummy_prefix = proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.escape_whitespaces = False
    own = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    rules = charsmap.rules(proto.normalizer_spec.precompiled_charsmap)
    assert len(rules) == 226_684
    normalize = normalizer(
        normalization.escaped(normalization.normalizer_steps(proto.normalizer_spec.precompiled_charsmap))
    )
    keys = list(rules)
    draw = random.Random(0)
    texts = ["x".join(keys[at : at + 400]) for at in range(0, len(keys), 400)]
    texts += ["".join(draw.choices(keys, k=40)) for _ in range(500)]
    assert [text for text in texts if normalize(text) != own.normalize(text)] == []


def test_rules_of_a_models_own_are_kept(tmp_path: Path) -> None:
    rules = {
        "ab": "x",
        "a.b": "AB",
        "(c)": "©",
        "...": "…",
        "e\u0301\u0323": "E",
        "e\u0301": "è",
        "É": "e\u0301",
        "q": "",
    }
    rules |= {"\r\n": "\n", "١٢": "12", "cc": " "}
    lines = ["\t".join(" ".join(f"{ord(c):X}" for c in text) for text in rule) for rule in rules.items()]
    (tmp_path / "rules.tsv").write_text("\n".join(lines) + "\n")
    model = train(tmp_path / "m.model", normalization_rule_tsv=str(tmp_path / "rules.tsv"))
    draw = random.Random(0)
    pool = [*rules, *"abcq.() e١٢É\u0301\u0323\r\nx"]
    texts = [*rules, *("".join(draw.choices(pool, k=draw.randint(1, 12))) for _ in range(2000))]
    assert said(export(model, tmp_path / "export", texts)) == []


def test_what_no_tokenizer_json_can_say_is_said(tmp_path: Path, tokenizer_model: Path) -> None:
    words = train(tmp_path / "words.model", model_type="word", byte_fallback=False)
    record = export(words, tmp_path / "words", ["one two", "the"])
    assert not (tmp_path / "words" / "tokenizer.json").exists()
    assert said(record)[0] == "AutoTokenizer is not the run's tokenizer: other ids for 2 of 2 texts"

    proto = protobuf.ModelProto.FromString(tokenizer_model.read_bytes())
    proto.pieces.add(piece="خب", score=-1000, type=protobuf.ModelProto.SentencePiece.NORMAL)  # whose letters are none
    (tmp_path / "tokenizer.model").write_bytes(proto.SerializeToString())
    record = export(tmp_path / "tokenizer.model", tmp_path / "unknown", ["one two", "one خبر", "xخبx"])
    assert [example["text"] for example in record["compared"]["examples"]] == ["xخبx", "one خبر"]
    assert said(record)[0].endswith("other ids for 2 of 3 texts")
    assert "'xخبx': [1, " in said(record)[1]


def test_what_transformers_cannot_load_or_encode_with_is_said(tmp_path: Path, tokenizer_model: Path) -> None:
    export(tokenizer_model, tmp_path / "export", ["a"])
    reference = load_reference(tokenizer_model)
    frame = frame_of(reference, True, True)
    path = tmp_path / "export" / "tokenizer.json"
    whole = json.loads(path.read_text())
    # An added token that the normalizer makes nothing of: tokenizers panics, which is no Exception.
    plain = {"id": 7, "content": "zz", "single_word": False, "lstrip": False, "rstrip": False, "special": False}
    nothing = {"type": "Sequence", "normalizers": [normalization.replace("zz", ""), whole["normalizer"]]}
    path.write_text(
        json.dumps(
            whole | {"normalizer": nothing, "added_tokens": [*whole["added_tokens"], plain | {"normalized": True}]}
        )
    )
    found = compare(tmp_path / "export", reference, frame, ["a", "b"])
    assert found["differ"] == 2 and found["examples"][0]["transformers"] is None
    assert agreement.said(found)[-1].endswith("None by AutoTokenizer")
    path.write_text("{")
    found = compare(tmp_path / "export", reference, frame, ["a"])
    assert found["problems"][0].startswith("AutoTokenizer cannot load it: ")
    assert not is_same(found)
