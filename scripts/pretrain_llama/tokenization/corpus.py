"""The texts that a tokenizer is tested on: every finite set as a whole, and generated documents.

Two engines that give the same ids for all of these agree on other texts, too, as far as a tokenizer decides by single
characters, by strings of its own (pieces, added tokens, what its normalizer replaces), or by neighbours that Unicode
knows of.
"""

import random
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import cycle, islice, product
from typing import NamedTuple

from pretrain_llama.tokenization import charsmap
from pretrain_llama.tokenization.alphabets import SCALARS, forms, white_space
from pretrain_llama.tokenization.engines import Reference, SentencePieceReference, read_pieces
from pretrain_llama.tokenization.fuzzing import fuzzed
from pretrain_llama.tokenization.ordinary import SENTENCES

DOCUMENTS = "documents"  # the section of those that are made up
PACKED = 8  # characters in one text, where each stands between others
CONTEXT = "a{0}b {0} "  # between letters, after a space and before one
# Beside what else a pre-tokenizer may look at: letters of both cases, digits, newlines, apostrophes, signs, itself.
BETWEEN_KINDS = "a{0}a A{0}A1{0}1 {0} {0}\n{0}'{0}.{0}{0}. "
BESIDE_TOKENS = ["", "a", " ", "a ", " a", "  ", ".", "\n", "1"]
# Marks of two and three bytes, of the combining classes 30, 1 and 8; one of 240, which stands before the character.
BESIDE_MARKS = ["{}\u064e", "{}\u0334", "{}\u3099", "\u0345{}"]
MARKS = "\u064e\u0334\u3099\u0345"
# One of each kind that a pre-tokenizer may tell apart.
KINDS = "aZ1 \n\r\t'.\u00e9\u0301\u4e2d\u0627"
LONGEST_OF_KINDS = 4
SPACES = " \n\r\t\u00a0\u2581"
LONGEST_OF_SPACES = 5
REPEATED = " \n\t0a-=\u2581\u00e9\u4e2d"
LENGTHS = [*range(5, 41), 63, 64, 65, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097, 20_000]


class Section(NamedTuple):
    """Texts of one kind, and their number."""

    name: str
    size: int
    texts: Iterable[str]


def corpus(reference: Reference, fuzzed_documents: int, seed: int) -> Iterator[Section]:
    """Yield the test texts for a tokenizer, by section; one seed and one version of Python always give the same.

    Args:
        reference: engine of the tokenizer, for its pieces and its added tokens, and what its normalizer replaces.
        fuzzed_documents: number of documents that are made up.
        seed: of what is drawn.
    """
    surfaces = sorted(_surfaces(reference))
    tokens = [*reference.control_strings, *reference.user_strings]
    keys = sorted(charsmap.keys(reference.charsmap))
    random.Random(seed).shuffle(keys)
    yield _listed("added tokens", _tokens(tokens))
    yield _listed("ordinary sentences", _sentences())
    yield _listed("white space and digits", _runs())
    if isinstance(reference, SentencePieceReference) and reference.tied_runs:
        yield _listed("runs of tied pieces", _tied_runs(reference.tied_runs))
    yield _listed("strings of all kinds", _strings(KINDS, LONGEST_OF_KINDS))
    yield Section("characters alone", len(SCALARS), map(chr, SCALARS))
    yield _packed("characters between others", CONTEXT)
    if keys:
        yield Section("what the normalizer replaces", len(keys), keys)
        beside = (f"a{key}{mark}b" for key, mark in zip(keys, cycle(MARKS), strict=False))
        yield Section("what it replaces, beside marks", len(keys), beside)
    if looks_around(reference):
        beside = (context.format(chr(code)) for context in BESIDE_MARKS for code in SCALARS)
        yield Section("characters beside marks", len(BESIDE_MARKS) * len(SCALARS), beside)
    yield _listed("other forms of characters", (text for form in forms() for text in (form, f"a{form}b")))
    yield Section("pieces", len(surfaces), surfaces)
    yield Section("pieces beside others", 2 * len(surfaces), _pairs(surfaces, random.Random(seed)))
    documents = fuzzed(fuzzed_documents, random.Random(seed), surfaces, keys, tokens)
    yield Section(DOCUMENTS, fuzzed_documents, documents)


def looks_around(reference: Reference) -> bool:
    """Say whether what a tokenizer's normalizer makes of a character may depend on those beside it."""
    is_model = isinstance(reference, SentencePieceReference)
    return bool(reference.charsmap) if is_model else reference.normalize is not None


def corpus_of_boundaries(fuzzed_documents: int, seed: int) -> Iterator[Section]:
    """Yield the test texts for how a tokenizer splits texts into words; otherwise as `corpus`."""
    yield _listed("ordinary sentences", _sentences())
    yield _listed("white space and digits", _runs())
    yield _listed("strings of all kinds", _strings(KINDS, LONGEST_OF_KINDS))
    yield _packed("characters between kinds", BETWEEN_KINDS)
    yield Section(DOCUMENTS, fuzzed_documents, fuzzed(fuzzed_documents, random.Random(seed), [], [], []))


def _listed(name: str, texts: Iterable[str]) -> Section:
    listed = list(texts)
    return Section(name, len(listed), listed)


def _packed(name: str, context: str) -> Section:
    """Return texts of some characters, each of which stands in the context."""
    filled = (context.format(chr(code)) for code in SCALARS)
    texts = ("".join(islice(filled, PACKED)) for _ in range(0, len(SCALARS), PACKED))
    return Section(name, -(-len(SCALARS) // PACKED), texts)


def _surfaces(reference: Reference) -> Iterator[str]:
    """Yield the texts that the pieces stand for, each once."""
    seen = {""}
    for number, piece in read_pieces(reference.path).items():
        for text in (piece.replace("\u2581", " "), reference.decode([number])):
            if text not in seen and "\ufffd" not in text:
                seen.add(text)
                yield text


def _pairs(surfaces: list[str], draw: random.Random) -> Iterator[str]:
    for _ in range(2):
        beside = surfaces.copy()
        draw.shuffle(beside)
        yield from map("".join, zip(surfaces, beside, strict=True))


def _tokens(tokens: list[str]) -> Iterator[str]:
    for number, token in enumerate(tokens):
        yield from (f"{before}{token}{behind}" for before, behind in product(BESIDE_TOKENS, repeat=2))
        yield from (token[:-1], token[1:], token.upper(), token.lower(), f"{token[0]}{token}{token[-1]}")
        yield from (f"{token}{token}", token + tokens[number - 1])


def _sentences() -> Iterator[str]:
    for sentence in SENTENCES:
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            text = unicodedata.normalize(form, sentence)
            yield from (text, text.upper(), 50 * text, text.replace(" ", ""), text.replace(" ", "\n"))


def _strings(alphabet: Iterable[str], longest: int) -> Iterator[str]:
    alphabet = list(alphabet)
    for length in range(1, longest + 1):
        yield from map("".join, product(alphabet, repeat=length))


def _runs() -> Iterator[str]:
    for spaces in [*_strings(white_space(), 2), *_strings(SPACES, LONGEST_OF_SPACES)]:
        yield from (spaces, f"a{spaces}b", f"{spaces}1", f".{spaces}")
    for repeated in REPEATED:
        for length in LENGTHS:
            yield from (repeated * length, f"a{repeated * length}b")
    yield from ("\r\n" * length for length in LENGTHS)
    yield from ("".join(str(digit % 10) for digit in range(length)) for length in LENGTHS)


def _tied_runs(longest: Iterable[str]) -> Iterator[str]:
    """Yield runs of every length up to eight times the square of the longest piece's: one, or two pieces' places."""
    for piece in longest:
        for character in {piece[0], piece[0].replace("\u2581", " ")}:
            for length in range(1, 8 * len(piece) ** 2 + 1):
                yield from (character * length, f"a{character * length}b")
