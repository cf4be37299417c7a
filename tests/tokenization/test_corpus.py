"""The texts that tokenizers are tried on: nothing finite is left out, and what is made up can be made again."""

import unicodedata
from itertools import islice
from pathlib import Path

import pytest
import sentencepiece

from pretrain_llama.tokenization import charsmap
from pretrain_llama.tokenization.alphabets import SCALARS, alphabets
from pretrain_llama.tokenization.corpus import BESIDE_MARKS, corpus, corpus_of_boundaries
from pretrain_llama.tokenization.engines import Reference, load_reference
from project import train_tokenizer


@pytest.fixture(scope="module")
def normalizing_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that normalizes by SentencePiece's default rule, and does nothing else to a text."""
    path = tmp_path_factory.mktemp("nmt_nfkc") / "tokenizer.model"
    rule = {"normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": False, "add_dummy_prefix": False}
    return train_tokenizer(path, **rule, user_defined_symbols=["<tool>"])


@pytest.fixture(scope="module")
def reference(normalizing_model: Path) -> Reference:
    return load_reference(normalizing_model)


def test_the_strings_of_a_normalizers_table_are_those_that_sentencepiece_replaces(
    normalizing_model: Path, reference: Reference
) -> None:
    model = sentencepiece.SentencePieceProcessor(model_file=str(normalizing_model))
    keys = charsmap.keys(reference.charsmap)
    assert len(keys) == len(set(keys)) > 200_000
    characters = [character for character in map(chr, SCALARS) if character not in " \u2581"]
    replaced = {one for one, after in zip(characters, model.normalize(characters), strict=True) if after != one}
    assert replaced == {key for key in keys if len(key) == 1} - {"\u2581"}
    rules = charsmap.rules(reference.charsmap)
    assert [model.normalize(key) for key in keys[::97]] == [rules[key] for key in keys[::97]]
    longer = [key for key in keys if len(key) > 1][::97]
    by_character = ["".join(map(model.normalize, key)) for key in longer]
    together = model.normalize(longer)
    assert sum(one != two for one, two in zip(together, by_character, strict=True)) > 0.99 * len(longer)
    assert charsmap.keys(b"") == []


def test_a_corpus_has_all_that_is_finite(reference: Reference) -> None:
    sections = {section.name: section for section in corpus(reference, 300, seed=0)}
    texts = {name: list(section.texts) for name, section in sections.items()}
    assert {name: len(some) for name, some in texts.items()} == {s.name: s.size for s in sections.values()}
    everything = set(map(chr, SCALARS))
    assert set(texts["characters alone"]) == everything
    between = "".join(texts["characters between others"])
    assert all(f"a{one}b {one} " in between for one in ("\x00", "é", "\u0301", "中", "\U0001f999", "\U0003347f"))
    assert len(between) == len("acb c ") * len(SCALARS)
    assert {context.format("é") for context in BESIDE_MARKS} <= set(texts["characters beside marks"])
    assert set(texts["what the normalizer replaces"]) == set(charsmap.keys(reference.charsmap))
    assert {"e\u0302\u0301", "\u30ab\u3099", "\uff76\uff9e", "fi"} <= set(texts["other forms of characters"]), (
        "of ế, ガ, ガ in half its width, and ﬁ"
    )
    assert {"<tool>", "</s>", "a</s>a", "</s>1"} <= set(texts["added tokens"])
    assert {" ", "<0x0A>", " the"} <= set(texts["pieces"])


def test_documents_are_of_many_scripts_and_lengths_and_can_be_made_again(reference: Reference) -> None:
    def documents(seed: int) -> list[str]:
        return next(list(section.texts) for section in corpus(reference, 3000, seed) if section.name == "documents")

    made = documents(seed=1)
    assert made == documents(seed=1) and made != documents(seed=2)
    lengths = sorted(map(len, made))
    assert lengths[0] >= 1 and lengths[100] < 5 and lengths[-1] > 3000
    names = {unicodedata.name(one, "").partition(" ")[0] for text in made for one in text}
    assert len(names & set(alphabets())) > 100
    assert any(len(text) > 200 and " " not in text for text in made)


def test_what_parts_texts_is_tried_on_every_character(reference: Reference) -> None:
    sections = {section.name: section for section in corpus_of_boundaries(10, seed=0)}
    between = "".join(sections["characters between kinds"].texts)
    assert between.count("'ſ.") == 1 and len(list(islice(sections["documents"].texts, 20))) == 10
