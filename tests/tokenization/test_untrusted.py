"""What is untrusted is learnt from the smallest strings that differ, kept as patterns, and found in texts."""

import json
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest
import tokenizers

from pretrain_llama.tokenization import untrusted as module
from pretrain_llama.tokenization.alphabets import SCALARS
from pretrain_llama.tokenization.boundaries import showing_boundaries
from pretrain_llama.tokenization.corpus import corpus
from pretrain_llama.tokenization.distrust import BESIDE_MARKS, DIFFER, REPLACED, STRING, TOKEN, Distrust
from pretrain_llama.tokenization.engine_comparison import Comparison, unequal
from pretrain_llama.tokenization.engines import Encoded, EngineFailed, Gigatoken, load_reference
from pretrain_llama.tokenization.shrinking import smallest
from pretrain_llama.tokenization.texts import Texts
from pretrain_llama.tokenization.untrusted import Pattern, Untrusted, merged, ranges_of
from trained import byte_level_tokenizer, sentencepiece_model


def encoded(texts: Iterable[str]) -> Texts:
    return Texts.of(text.encode() for text in texts)


PATTERNS = [
    Pattern("private", (((0xF0000, 0x10FFFF),),)),
    Pattern("pairs", (ranges_of(map(ord, "abc\u00a0")), ((0x300, 0x36F), (0x64B, 0x65F)))),
    Pattern.of_string("token", "</s>"),
]


def test_patterns_are_found_as_a_regular_expression_of_python_finds_them() -> None:
    untrusted = Untrusted(PATTERNS)
    expected = re.compile("[\U000f0000-\U0010ffff]|[abc\u00a0][\u0300-\u036f\u064b-\u065f]|</s>")
    draw = random.Random(0)
    letters = "abcxyz \u00a0\u0301\u064eم中é</s>\U000f0000\U0001f999"
    texts = ["".join(draw.choices(letters, k=draw.randrange(12))) for _ in range(5_000)]
    for batch in (texts, ["plain"] * 9, [*["plain"] * 999, "a\u0301"], [""], []):
        held = untrusted.are_in(encoded(batch))
        assert held.tolist() == [bool(expected.search(text)) for text in batch]
    without = untrusted.without(texts)
    assert not any(map(expected.search, without)) and any(without)
    assert [after for before, after in zip(texts, without, strict=True) if not expected.search(before)] == [
        text for text in texts if not expected.search(text)
    ]
    assert untrusted.without(["</</s>s>x", "xa\u0301\u0301"]) == ["x", "x\u0301"], "as often as it takes"
    assert Untrusted([]).without(["a"]) == ["a"] and untrusted.without([]) == []


def test_patterns_survive_the_certificate() -> None:
    kept = json.loads(json.dumps([pattern.to_json() for pattern in PATTERNS]))
    assert [Pattern.from_json(pattern) for pattern in kept] == PATTERNS
    assert kept[1] == {"why": "pairs", "sequence": ["0061-0063 00A0-00A0", "0300-036F 064B-065F"]}
    assert not Untrusted([]).are_in(encoded(["anything \U0010ffff"])).any()


def test_ranges_are_merged() -> None:
    assert ranges_of([5, 3, 4, 9, 3]) == ((3, 5), (9, 9))
    assert merged([(5, 9), (1, 2), (3, 3), (8, 12), (20, 20)]) == ((1, 3), (5, 12), (20, 20))


def test_shrinking_finds_the_smallest_string_of_each_text_with_few_questions() -> None:
    asked = []

    def showing(texts: Sequence[str]) -> list[str]:
        asked.append(len(texts))
        return [text for text in texts if re.search("x.?y", text) or text.count("z") >= 2]

    long = "a" * 70_000 + "x" + "b" * 30_000 + "x?y" + "c" * 50_000
    assert smallest([long, "xy", "q" * 99 + "z" + "q" * 99 + "z", "abxycd"], showing) == ["xy", "xy", "zz", "xy"]
    assert len(asked) < 60
    assert smallest([], showing) == []


@pytest.fixture(scope="module")
def distrust(tmp_path_factory: pytest.TempPathFactory) -> Distrust:
    path = tmp_path_factory.mktemp("distrust") / "tokenizer.model"
    options = {"normalization_rule_name": "nfkc", "user_defined_symbols": ["<tool>", "<user>"]}
    return Distrust(load_reference(sentencepiece_model(path, **options)))


def test_what_differs_is_distrusted_with_its_kind(distrust: Distrust) -> None:
    def held(*texts: str) -> list[bool]:
        return distrust.untrusted().are_in(encoded(texts)).tolist()

    assert held("\U00100000", "\u088f", "ordinary 中 \ue000", "\U000e0067") == [True, True, False, False]
    assert held("e\u0301", "\uff76\uff9e") == [False, False]
    assert distrust.learn("o\u0308") == REPLACED
    assert held("e\u0301", "\uff76\uff9e", "\u1100\u1161", "x\u064e", "é") == [True, True, True, False, False]
    assert distrust.learn("\u00a0\u064e") == BESIDE_MARKS
    assert held("\u00a0\u3099", "\u064e\u00a0", "\u00a0a", "b\u064e") == [True, False, False, False]
    assert distrust.learn("\u064e\u00a0") == BESIDE_MARKS
    assert held("\u3099\u00a0", "a\u00a0", "\u064eb") == [True, False, False]
    assert distrust.learn("\u0345\u064e") == BESIDE_MARKS
    assert held("\u0345\u0301", "\u0628\u064e") == [True, False]
    assert distrust.learn("\u00a8\u00a8") == DIFFER, "no mark is in it"
    assert held("\u00a8\u00a8") == [True]
    assert distrust.learn("\u3000") == DIFFER and distrust.learn("\u3000a") is None
    assert held("a\u3000", "\u3001") == [True, False]
    assert distrust.learn("<tool>a") == TOKEN
    assert held("a<user>", "<tool>", "<toot>", "</s>") == [True, True, False, False]
    assert distrust.learn("\r\n") == STRING and distrust.strings == 1
    assert held("a\r\nb", "a\rb\n") == [True, False]


def test_where_texts_are_parted_shows_in_the_ids_whatever_the_pieces_are(tmp_path: Path) -> None:
    """U+088F, of Unicode 17, is a letter to one of the two; no piece of a small vocabulary tells."""
    byte_level_tokenizer().save(str(tmp_path / "own.json"))
    definition = orjson.loads((tmp_path / "own.json").read_bytes())
    (tmp_path / "shown.json").write_bytes(orjson.dumps(showing_boundaries(definition)))
    differing = {}
    for name in ("own", "shown"):
        reference = load_reference(tmp_path / f"{name}.json")
        comparison = Comparison(Gigatoken(reference, 1), reference)
        differing[name] = comparison.differing(["ل\u088fل", "\u088f.", "a\u088f b", "plain 12,345.\n\n it's"])
    assert differing == {"own": [], "shown": ["ل\u088fل", "\u088f.", "a\u088f b"]}
    assert showing_boundaries({"model": {"byte_fallback": True}, "pre_tokenizer": None}) is None
    metaspace = {"type": "Metaspace", "replacement": "▁"}
    assert showing_boundaries({"model": {"byte_fallback": False}, "pre_tokenizer": metaspace}) is None


def test_every_place_where_a_text_is_parted_shows(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.save(str(tmp_path / "own.json"))
    definition = orjson.loads((tmp_path / "own.json").read_bytes())
    (tmp_path / "shown.json").write_bytes(orjson.dumps(showing_boundaries(definition)))
    shown = tokenizers.Tokenizer.from_file(str(tmp_path / "shown.json"))
    draw = random.Random(0)
    for character in map(chr, draw.sample(SCALARS, 500)):
        for text in (f"a{character}", f"{character}1", f"{character}{character}", f" {character}"):
            parts = {end for _, (_, end) in tokenizer.pre_tokenizer.pre_tokenize_str(text)}
            is_parted = len(text[0]) in parts
            ids = shown.encode(text, add_special_tokens=False).ids
            joined = [shown.id_to_token(one) for one in ids]
            first_bytes = len(text[0].encode())
            crosses = first_bytes not in np.cumsum([len(one) for one in joined])
            if not text.isascii():
                assert crosses == (not is_parted), ascii(text)


class Failing(Gigatoken):
    """Fails on some texts, as a panic of its Rust code would."""

    def encode(self, texts: Texts) -> Encoded:
        if any(b"boom" in text for text in texts):
            raise EngineFailed("it fails")
        return super().encode(texts)


def test_a_text_that_the_fast_engine_fails_on_differs(tokenizer_model: Path) -> None:
    reference = load_reference(tokenizer_model)
    comparison = Comparison(Failing(reference, 1), reference)
    assert comparison.differing(["a", "b boom", "c", "boom"]) == ["b boom", "boom"]
    assert smallest(["b boom c"], comparison.differing) == ["boom"]
    assert comparison.ids("boom")[0] == [] and comparison.compared >= 2
    assert comparison.differing([]) == []


def test_unequal_ids_are_told_text_by_text() -> None:
    ours = (np.array([1, 2, 3, 4, 5]), np.array([2, 0, 1, 2]))
    theirs = (np.array([1, 2, 9, 4]), np.array([2, 0, 1, 1]))
    assert unequal(ours, theirs).tolist() == [False, False, True, True]
    assert unequal(ours, ours).tolist() == [False] * 4


@pytest.mark.parametrize(
    ("tokens", "untrusted"),
    [
        ([tokenizers.AddedToken("word", special=False)], []),
        ([tokenizers.AddedToken("word", special=False, single_word=True)], ["word"]),
        # gigatoken finds the "tool" within "<tool>"
        (
            [tokenizers.AddedToken(name, special="<" in name, normalized=False) for name in ("<tool>", "tool")],
            ["<tool>"],
        ),
    ],
)
def test_added_tokens_are_distrusted_only_where_they_differ(tmp_path: Path, tokens: list, untrusted: list[str]) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(tokens)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    reference = load_reference(tmp_path / "tokenizer.json")
    comparison = Comparison(Gigatoken(reference, 1), reference)
    section = next(section for section in corpus(reference, 1, 0) if section.name == "added tokens")
    differing = comparison.differing(list(section.texts))
    distrust = Distrust(reference)
    for string in smallest(differing, comparison.differing):
        distrust.learn(string)
    held = distrust.untrusted().are_in(encoded(differing))
    assert held.all() and len(held) >= len(untrusted)
    found = [text for text in ("word", "<tool>", "plain") if distrust.untrusted().are_in(encoded([text]))[0]]
    assert found == untrusted


def test_a_text_is_found_whether_its_characters_are_looked_up_or_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every code point alone and before another, beside ordinary letters; both ways to find it agree."""
    classes = (((0x0D, 0x0D), (0x3A9, 0x3B1), (0x7F, 0x9F), (0x1F600, 0x1F64F), (0x10FFFE, 0x10FFFF)),)
    marks = ((0x300, 0x36F), (0xFB01, 0xFB01))
    patterns = Untrusted([Pattern("one", classes), Pattern("two", (((0x41, 0x5A),), marks))])
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = Texts.of(f"sea{chr(code)} A{chr(code)}".encode() for code in codes)
    found = []
    for many in (0.0, 1.0):
        monkeypatch.setattr(module, "MANY", many)
        found.append(patterns.are_in(texts))
    assert (found[0] == found[1]).all()
    one = {code for first, last in classes[0] for code in range(first, last + 1)}
    assert set(np.array(codes)[found[0]].tolist()) == one | set(range(0x300, 0x370)) | {0xFB01}
