"""Text stays text, whatever a tokenizer.json's vocabulary holds; what is not known, or random, is refused by name."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from pretrain_llama.errors import ConfigError
from pretrain_llama.tokenization.engines import load_reference, read_pieces
from pretrain_llama.tokenization.indexed import IndexedReader
from pretrain_llama.tokenization.texts import Texts
from project import PREFIX, deliver, jsonl, merge_shard, tokenize_shard, train_tokenizer

CONTROLS = ["<unk>", "<s>", "</s>", "[SEP]"]
BOS, EOS = "<s>", "</s>"
WORDS = ["He said", "and left", "the building", "ships of the sea", "s", "/s", "SEP", "unk"]
# What a text may say around control strings, and in place of them.
FRAMES = ["{}", " {} ", "a{}b", "He said {} and left", "{0}{0}", "\n{}\n", "{}.", "▁{}", "[{}]"]
SAID = [*CONTROLS, "</S>", "< /s >", "<s></s>", "x</s", "##</s>", "</s></w>", "[sep]", "<0x0A>"]
TEXTS = [frame.format(said) for frame, said in product(FRAMES, SAID)]

MODELS: dict[str, Callable[[], tuple[models.Model, trainers.Trainer]]] = {
    "BPE": lambda: (models.BPE(unk_token="<unk>"), trainers.BpeTrainer),
    "BPE, whole words": lambda: (models.BPE(unk_token="<unk>", ignore_merges=True), trainers.BpeTrainer),
    "BPE, prefix and suffix": lambda: (
        models.BPE(unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>"),
        trainers.BpeTrainer,
    ),
    "Unigram": lambda: (models.Unigram(), trainers.UnigramTrainer),
    "WordPiece": lambda: (models.WordPiece(unk_token="<unk>"), trainers.WordPieceTrainer),
    "WordLevel": lambda: (models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer),
}
NORMALIZERS = [
    None,
    normalizers.BertNormalizer(),
    normalizers.ByteLevel(),
    normalizers.Lowercase(),
    normalizers.NFC(),
    normalizers.NFD(),
    normalizers.NFKC(),
    normalizers.NFKD(),
    normalizers.Nmt(),
    normalizers.Prepend("▁"),
    normalizers.Replace(" ", ""),
    normalizers.Replace(Regex("[xX]"), "</s>"),
    normalizers.Strip(),
    normalizers.StripAccents(),
    normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(r"\[sep\]"), "[SEP]")]),
]
PRE_TOKENIZERS = [
    None,
    pre_tokenizers.BertPreTokenizer(),
    pre_tokenizers.ByteLevel(add_prefix_space=True),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    pre_tokenizers.CharDelimiterSplit("a"),
    pre_tokenizers.Digits(),
    pre_tokenizers.FixedLength(4),
    pre_tokenizers.Metaspace(),
    pre_tokenizers.Metaspace("_", "never", split=False),
    pre_tokenizers.Punctuation(),
    pre_tokenizers.Split(Regex(r"</s>"), "isolated"),
    pre_tokenizers.Split(" ", "merged_with_next"),
    pre_tokenizers.UnicodeScripts(),
    pre_tokenizers.Whitespace(),
    pre_tokenizers.WhitespaceSplit(),
    pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(False)]),
]


def trained(name: str, normalizer: Any = None, pre_tokenizer: Any = None) -> tokenizers.Tokenizer:
    """A tokenizer of a kind, trained on a few words, whose vocabulary holds its control tokens."""
    model, trainer_of = MODELS[name]()
    tokenizer = tokenizers.Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    unknown = {"unk_token": "<unk>"} if name == "Unigram" else {}
    trainer = trainer_of(vocab_size=200, special_tokens=CONTROLS, show_progress=False, **unknown)
    tokenizer.train_from_iterator(WORDS * 3, trainer)
    return tokenizer


def judge(path: Path) -> tokenizers.Tokenizer:
    """The file as the tokenizers library takes it, told to encode special tokens as text."""
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def texts_of(texts: list[str]) -> Texts:
    return Texts.of(text.encode() for text in texts)


def ids_of(path: Path, texts: list[str]) -> list[list[int]]:
    """The ids that each text is given here."""
    ids, lengths = load_reference(path, 1, BOS, EOS).encode(texts_of(texts))
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]


# Every normalizer once with every model, and every pre-tokenizer; all pairs would take a minute.
PAIRS = [(NORMALIZERS[number % len(NORMALIZERS)], one) for number, one in enumerate(PRE_TOKENIZERS)]


@pytest.mark.parametrize("name", MODELS)
def test_no_text_gets_the_id_of_a_control_token(tmp_path: Path, name: str) -> None:
    path, reached = tmp_path / "tokenizer.json", 0
    for normalizer, pre_tokenizer in PAIRS:
        trained(name, normalizer, pre_tokenizer).save(str(path))
        theirs = judge(path)
        controls = {theirs.token_to_id(token) for token in CONTROLS if token != "<unk>"}
        given = [encoding.ids for encoding in theirs.encode_batch(TEXTS, add_special_tokens=False)]
        is_reached = any(controls & set(ids) for ids in given)
        ours = ids_of(path, TEXTS)
        assert not any(controls & set(ids) for ids in ours), (normalizer, pre_tokenizer)
        every = controls | {theirs.token_to_id("<unk>")}
        assert all(one == other or every & set(other) for one, other in zip(ours, given, strict=True)), "others stay"
        shielded = load_reference(path, 1, BOS, EOS).shielded
        assert bool(shielded) == is_reached, "the identity changes where the ids do, and nowhere else"
        reached += is_reached
    assert (reached > 0) == (name not in ("BPE", "BPE, prefix and suffix")), "the kinds that hold them as pieces"


@pytest.mark.parametrize("name", ["Unigram", "WordPiece", "WordLevel", "BPE, whole words"])
def test_a_shard_of_any_kind_of_tokenizer_json_ends_its_documents_itself(tmp_path: Path, name: str) -> None:
    path = tmp_path / "tokenizer.json"
    trained(name, pre_tokenizer=pre_tokenizers.WhitespaceSplit()).save(str(path))
    texts = ["He said </s> and <s> left the <unk> building", "</s>", "ships of the sea"]
    assert merge_shard(tmp_path, deliver(tmp_path / "a.jsonl", jsonl(texts))).returncode == 0
    result = tokenize_shard(tmp_path, path, "--bos-token", BOS, "--eos-token", EOS)
    assert result.returncode == 0, result.stderr
    theirs, pair = judge(path), IndexedReader(tmp_path / PREFIX)
    begin, end = theirs.token_to_id(BOS), theirs.token_to_id(EOS)
    documents = np.split(pair.tokens_array, np.cumsum(pair.lengths)[:-1])
    assert [(ids[0], ids[-1]) for ids in documents] == [(begin, end)] * 3
    assert not {begin, end} & {*np.concatenate([ids[1:-1] for ids in documents]).tolist()}
    assert documents[2][1:-1].tolist() == theirs.encode(texts[2], add_special_tokens=False).ids
    receipt = json.loads((tmp_path / f"{PREFIX}.receipt.json").read_text())
    assert receipt["frame"] == {"bos": {"id": begin, "token": BOS}, "eos": {"id": end, "token": EOS}}


def changed(path: Path, tokenizer: tokenizers.Tokenizer, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write a tokenizer, what its file says changed."""
    definition = json.loads(tokenizer.to_str())
    change(definition)
    path.write_text(json.dumps(definition))
    return path


def set_model(**values: object) -> Callable[[dict[str, Any]], object]:
    return lambda definition: definition["model"].update(values)


def set_step(step: str, *parts: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    keys = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "post_processor": "processors"}
    sequence = {"type": "Sequence", keys.get(step, "decoders"): list(parts)}
    return lambda definition: definition.update({step: sequence})


def add_tokens(*contents: str, **flags: bool) -> Callable[[dict[str, Any]], object]:
    token = {"id": 0, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return lambda definition: definition["added_tokens"].extend(token | {"content": one} | flags for one in contents)


def both(*changes: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda definition: [change(definition) for change in changes]


LOWERCASE = {"type": "Lowercase"}
REFUSED = {
    "dropout": ("BPE", set_model(dropout=0.1), "encodes at random: with dropout 0.1, a text gets other tokens"),
    "a Unigram's alpha": ("Unigram", set_model(alpha=0.1), "what is not known here: 'alpha' of its Unigram model"),
    "a Unigram's nbest": ("Unigram", set_model(nbest_size=64), "what is not known here: 'nbest_size' of its Unigram"),
    "sampling": ("Unigram", lambda definition: definition.update(sampling={"alpha": 1}), "known here: 'sampling'"),
    "two added tokens that are one": (
        "BPE",
        both(set_step("normalizer", LOWERCASE), add_tokens("Tool", "tool", normalized=True)),
        "encodes at random: its normalizer makes one of 'Tool' and 'tool'",
    ),
    "another model": ("BPE", set_model(type="WordCount"), "known here: a model of type 'WordCount'"),
    "another normalizer": ("BPE", set_step("normalizer", LOWERCASE, {"type": "Typos"}), "a normalizer of type 'Typos'"),
    "another pre-tokenizer": (
        "WordLevel",
        set_step("pre_tokenizer", {"type": "RandomSplit"}),
        "known here: a pre_tokenizer of type 'RandomSplit'",
    ),
    "another post-processor": ("BPE", set_step("post_processor", {"type": "Shuffle"}), "a post_processor of type 'Shu"),
    "another decoder": ("BPE", set_step("decoder", {"type": "Rot13"}), "a decoder of type 'Rot13'"),
    "a character as control token": (
        "BPE",
        add_tokens("s", special=True),
        "text is written with 's', which cannot be a control token, too",
    ),
    "a character behind a prefix": ("WordPiece", add_tokens("##s", special=True), "text is written with '##s'"),
    "a merge as control token": (
        "BPE",
        lambda definition: add_tokens("".join(definition["model"]["merges"][0]), special=True)(definition),
        "which cannot be a control token, too",
    ),
    "a byte as control token": (
        "BPE",
        both(
            set_model(byte_fallback=True),
            lambda definition: definition["model"]["vocab"].update({"<0x0A>": 900}),
            add_tokens("<0x0A>", special=True),
        ),
        "text is written with '<0x0A>'",
    ),
    "one id for EOS and a word": (
        "WordLevel",
        lambda definition: definition["model"]["vocab"].update({"sea": definition["model"]["vocab"][EOS]}),
        "a control token has no id of its own: 'sea' and '</s>'",
    ),
    "EOS for what is unknown": ("WordPiece", set_model(unk_token=EOS), "'</s>' frames documents, and stands for"),
    "EOS twice": (
        "Unigram",
        lambda definition: definition["model"]["vocab"].append([EOS, -9.0]),
        "the vocabulary has '</s>' twice, so a control token has two ids",
    ),
    "an id that no .bin holds": (
        "WordLevel",
        lambda definition: definition["model"]["vocab"].update({"sea": 2**31}),
        "the tokenizer has an id of 2,147,483,648",
    ),
    "a table that tokenizers panics on": (
        "Unigram",
        lambda definition: definition.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "no tokenizer.json: Precompiled: ",
    ),
    "no vocabulary": ("BPE", lambda definition: definition["model"].pop("vocab"), "no tokenizer.json: "),
    "a list": ("BPE", lambda definition: definition.update(model=[]), "no tokenizer.json: "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_to_be_right_is_refused_by_name(tmp_path: Path, case: str) -> None:
    name, change, message = REFUSED[case]
    path = changed(tmp_path / "tokenizer.json", trained(name), change)
    with pytest.raises(ConfigError) as refused:
        load_reference(path, 1, BOS, EOS)
    assert message in str(refused.value)
    assert f"where: {path}\n  next:  " in str(refused.value)


ALLOWED = {
    "no dropout": ("BPE", set_model(dropout=0.0)),
    "no alpha": ("Unigram", set_model(alpha=None)),
    "a file of old, which names no type": ("BPE", lambda definition: definition["model"].pop("type")),
    "an added token of nothing": ("BPE", add_tokens("", special=True)),
    "merges of old": (
        "BPE, whole words",
        lambda definition: definition["model"].update(merges=[" ".join(m) for m in definition["model"]["merges"]]),
    ),
    "a post-processor, truncation": (
        "Unigram",
        both(
            lambda definition: definition.update(
                truncation={"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
                post_processor=json.loads(
                    processors.TemplateProcessing(single="</s> $A </s>", special_tokens=[("</s>", 2)]).__getstate__()
                ),
            ),
        ),
    ),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_is_known_to_be_right_is_let_through(tmp_path: Path, case: str) -> None:
    name, change = ALLOWED[case]
    tokenizer = trained(name, pre_tokenizer=pre_tokenizers.WhitespaceSplit())
    path = changed(tmp_path / "tokenizer.json", tokenizer, change)
    text = "He said and left the building"
    assert ids_of(path, [text]) == [tokenizer.encode(text, add_special_tokens=False).ids]


def test_eos_may_stand_for_the_unknown_where_nothing_is(tmp_path: Path) -> None:
    """GPT-2 calls its end so; it knows all bytes."""
    known = {byte: number for number, byte in enumerate([*pre_tokenizers.ByteLevel.alphabet(), "</s>"])}
    for pieces, knows in ((known, True), ({byte: known[byte] for byte in known if byte != "q"}, False)):
        tokenizer = tokenizers.Tokenizer(models.BPE(pieces, [], unk_token=EOS))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        if knows:
            assert ids_of(tmp_path / "tokenizer.json", ["</s>"]) == [[known[byte] for byte in "</s>"]]
        else:
            with pytest.raises(ConfigError, match="frames documents, and stands for characters"):
                load_reference(tmp_path / "tokenizer.json", 1, None, EOS)


def test_a_text_that_cannot_be_encoded_is_no_traceback(tmp_path: Path) -> None:
    path = changed(tmp_path / "tokenizer.json", trained("Unigram"), set_model(unk_id=None))
    with pytest.raises(ConfigError, match=r"the tokenizer cannot encode a text: .*unk_id"):
        ids_of(path, ["حكاية"])


def test_a_text_that_tokenizers_panics_on_is_no_traceback(tmp_path: Path) -> None:
    tokenizer = trained("WordLevel")
    tokenizer.normalizer = normalizers.Replace("", "x")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(True), pre_tokenizers.ByteLevel(True)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ConfigError, match=r"the tokenizer cannot encode a text: index out of bounds(.|\n)*panics on"):
        ids_of(tmp_path / "tokenizer.json", ["Tiếng Việt rất đẹp"])


def test_eos_that_texts_can_name_is_text_in_them(tmp_path: Path, tokenizer_model: Path) -> None:
    """An added token that is not special, and a user-defined symbol: tokenizing takes them for text."""
    alphabet = {byte: number for number, byte in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    byte_level = tokenizers.Tokenizer(models.BPE(alphabet, []))
    byte_level.pre_tokenizer, byte_level.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    byte_level.add_tokens([AddedToken("<end>", special=False), AddedToken("<tool>", special=False)])
    byte_level.save(str(tmp_path / "tokenizer.json"))
    defined = train_tokenizer(tmp_path / "tokenizer.model", user_defined_symbols=["<end>", "<tool>"])
    texts = ["it says <end> and goes on", "<end>", "a <tool> is found"]
    assert merge_shard(tmp_path, deliver(tmp_path / "a.jsonl", jsonl(texts))).returncode == 0
    for model in (tmp_path / "tokenizer.json", defined):
        result = tokenize_shard(tmp_path, model, "--prepend-bos", "false", "--eos-token", "<end>")
        assert result.returncode == 0, result.stderr
        numbers = {piece: number for number, piece in read_pieces(model).items()}
        pair = IndexedReader(tmp_path / PREFIX)
        documents = np.split(pair.tokens_array, np.cumsum(pair.lengths)[:-1])
        assert [int((ids == numbers["<end>"]).sum()) for ids in documents] == [1, 1, 1]
        assert all(ids[-1] == numbers["<end>"] for ids in documents)
        assert numbers["<tool>"] in documents[2], "other tokens of the kind are found, as before"
        for text, ids in zip(texts, documents, strict=True):
            assert load_reference(model).decode(ids[:-1].tolist()) == text
        assert load_reference(model, eos_token="<end>").shielded == ["<end>"]
        assert load_reference(model).shielded == []


def test_a_piece_that_text_is_written_with_ends_no_document(tmp_path: Path, tokenizer_model: Path) -> None:
    for token in ("▁the", "e", "<0x0A>"):
        with pytest.raises(ConfigError, match=f"text is written with '{token}', which cannot be a control token, too"):
            load_reference(tokenizer_model, eos_token=token)
