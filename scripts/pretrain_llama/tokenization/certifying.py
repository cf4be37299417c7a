"""Certify a tokenizer: compare fast engine and reference, distrust what differs, and repeat until nothing does."""

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import orjson

from pretrain_llama.errors import listed
from pretrain_llama.progress import Progress
from pretrain_llama.tokenization.alphabets import UNICODE_VERSION
from pretrain_llama.tokenization.boundaries import showing_boundaries
from pretrain_llama.tokenization.certificate import Certificate
from pretrain_llama.tokenization.corpus import DOCUMENTS, Section, corpus, corpus_of_boundaries
from pretrain_llama.tokenization.distrust import Distrust
from pretrain_llama.tokenization.engine_comparison import Comparison
from pretrain_llama.tokenization.engines import (
    Gigatoken,
    Reference,
    SentencePieceReference,
    TokenizersReference,
    load_reference,
)
from pretrain_llama.tokenization.ordinary import ENGLISH
from pretrain_llama.tokenization.shrinking import smallest
from pretrain_llama.tokenization.texts import Texts

TEXTS_AT_ONCE = 1 << 14
CHARACTERS_AT_ONCE = 1 << 20
SHRUNK_AT_FIRST = 32  # of the texts that differ; twice as many each time that what they teach leaves others
MOST_STRINGS = 256  # that differ each by itself: more, and what differs is no exception
SPARE = 20  # every so many documents one more is made up, for those of which nothing trusted is left
SHOWN = 10  # of the strings that a pattern was learnt from


class Alone(Exception):
    """The engines differ in ordinary text; `str()` says where."""


def certify(tokenizer: str, reference: Reference, threads: int, fuzzed_documents: int, seed: int) -> Certificate:
    """Return the certificate of a tokenizer.

    Args:
        tokenizer: its identity.
        reference: its reference engine.
        threads: that this uses.
        fuzzed_documents: number of documents that are made up.
        seed: of them.
    """
    start = time.monotonic()
    certificate = Certificate.of(reference, tokenizer)
    certificate.unicode, certificate.seed = UNICODE_VERSION, seed
    distrust = Distrust(reference)
    made_up = fuzzed_documents + fuzzed_documents // SPARE
    try:
        for comparison, sections in _comparisons(reference, threads, made_up, seed):
            for section in sections:
                compared = compare(section, comparison, distrust, certificate)
                certificate.compared[section.name] = certificate.compared.get(section.name, 0) + compared
    except Alone as reason:
        certificate.alone = str(reason)
    certificate.untrusted = [pattern.to_json() for pattern in distrust.untrusted().patterns]
    certificate.seconds = round(time.monotonic() - start, 1)
    return certificate


def _comparisons(
    reference: Reference, threads: int, fuzzed_documents: int, seed: int
) -> Iterator[tuple[Comparison, Iterator[Section]]]:
    """Yield what is compared: the tokenizer, and where it splits texts."""
    yield Comparison(fast_engine(reference), reference), corpus(reference, fuzzed_documents, seed)
    is_json = isinstance(reference, TokenizersReference)
    shown = showing_boundaries(orjson.loads(reference.content)) if is_json else None
    if shown:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            path.write_bytes(orjson.dumps(shown))
            showing = load_reference(path, threads)
            yield Comparison(fast_engine(showing), showing), corpus_of_boundaries(fuzzed_documents, seed)


def fast_engine(reference: Reference) -> Gigatoken:
    """Return the fast engine of a tokenizer.

    Raises:
        Alone: it cannot load the model, or cannot join its pieces in their order.
    """
    if isinstance(reference, SentencePieceReference) and reference.tied:
        raise Alone(
            f"{listed([repr(piece) for piece in reference.tied])} have one score, so that the text decides which is "
            "joined first, and gigatoken's order is always the same"
        )
    try:
        return Gigatoken(reference, 1)
    except Exception as error:  # whatever a model that it does not know makes it raise
        raise Alone(f"gigatoken cannot load the model: {error}".partition("\n")[0]) from error


def compare(section: Section, comparison: Comparison, distrust: Distrust, certificate: Certificate) -> int:
    """Compare the texts of a section, distrust what differs, and compare the rest again; return how many."""
    before = comparison.compared
    with Progress(section.size, "texts", f"{certificate.tokenizer}: {section.name}") as progress:
        for texts in _batches(section.texts):
            differing = comparison.differing(_trusted(texts, section, distrust))
            shrunk = SHRUNK_AT_FIRST
            while differing:
                some = differing[:: max(1, len(differing) // shrunk)]
                found = set(smallest(some, comparison.differing))
                _learn(sorted(found, key=lambda text: (len(text), text)), comparison, distrust, certificate)
                shrunk *= 2
                differing = comparison.differing(_trusted(differing, section, distrust))
            progress.advance(len(texts))
    return comparison.compared - before


def _trusted(texts: Sequence[str], section: Section, distrust: Distrust) -> list[str]:
    """Return the texts that the fast engine is trusted with by now; documents without what is untrusted."""
    untrusted = distrust.untrusted()
    if section.name == DOCUMENTS:
        return [text for text in untrusted.without(texts) if text]
    held = untrusted.are_in(Texts.of(text.encode() for text in texts))
    return [text for text, holds in zip(texts, held.tolist(), strict=True) if not holds]


def _learn(strings: Iterable[str], comparison: Comparison, distrust: Distrust, certificate: Certificate) -> None:
    """Distrust smallest strings that differ, and keep some as examples.

    Raises:
        Alone: what is untrusted by now is in ordinary text.
    """
    for string in strings:
        why = distrust.learn(string)
        if why and sum(difference["why"] == why for difference in certificate.differences) < SHOWN:
            ours, theirs = comparison.ids(string)
            certificate.differences.append({"text": string, "why": why, "fast": ours, "reference": theirs})
    if distrust.untrusted().are_in(Texts.of([ENGLISH.encode()])).any() or distrust.strings > MOST_STRINGS:
        shown = certificate.differences[-1]
        raise Alone(
            f"{certificate.fast} gives {shown['fast']} for {shown['text']!r}, "
            f"{certificate.reference} {shown['reference']}"
        )


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield texts in lists of as many as are compared at once."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if len(batch) == TEXTS_AT_ONCE or characters >= CHARACTERS_AT_ONCE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
