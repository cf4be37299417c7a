"""Compare AutoTokenizer's ids with those of the training, by asking transformers for every test text.

AutoTokenizer makes control tokens of text that names them, where a training has them as text. So texts that name one
are compared with split_special_tokens=True, which switches that off, and counted apart.
"""

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from pretrain_llama.errors import SHOWN, listed
from pretrain_llama.tokenization.corpus import corpus
from pretrain_llama.tokenization.engines import Reference, SentencePieceReference
from pretrain_llama.tokenization.frame import Frame
from pretrain_llama.tokenization.panics import Panic, panics_raised
from pretrain_llama.tokenization.texts import Texts

_AT_ONCE = 4096  # texts
_OF_A_KIND = 10_000  # texts of the corpus
_DOCUMENTS, _SEED = 2000, 0  # that are made up
_SHOWN_IDS, _SHOWN_CHARACTERS = 12, 80

Ids = list[int] | None


def texts_for(reference: Reference) -> Iterator[str]:
    """Yield texts to test a tokenizer on: a limited number of each kind, evenly spread."""
    for section in corpus(reference, _DOCUMENTS, _SEED):
        yield from islice(section.texts, 0, None, -(-section.size // _OF_A_KIND) or 1)


def compare(folder: Path, reference: Reference, frame: Frame, texts: Iterable[str]) -> dict[str, Any]:
    """Return how AutoTokenizer's ids compare with a training's.

    Args:
        folder: of tokenizer.json, or tokenizer.model, and tokenizer_config.json.
        reference: what encoded the training's texts, or was what its engine was held against.
        frame: what was put around them.
        texts: to compare on.

    Returns:
        {"transformers", "tokenizers": versions, "problems": what is wrong with any text, "texts": compared, "differ":
        those with other ids, "naming": texts that name control tokens, "naming_differ": those with other ids,
        "examples": [{"text", "training": ids, "transformers": ids, null where it fails}], the shortest}
    """
    found: dict[str, Any] = {package: version(package) for package in ("transformers", "tokenizers")}
    found |= {"problems": [], "texts": 0, "differ": 0, "naming": 0, "naming_differ": 0, "examples": []}
    try:
        with panics_raised():
            plain, literal = _load(folder), _load(folder, split_special_tokens=True)
    except Exception as error:  # whatever a file that it does not know makes it raise
        return found | {"problems": [f"AutoTokenizer cannot load it: {' '.join(str(error).split())[:200]}"]}
    found["problems"] = [*_problems(plain, frame), *_ties(reference)]
    controls = [token.content for token in plain.added_tokens_decoder.values() if token.special]
    examples: list[tuple[str, Ids, Ids]] = []
    remaining = iter(texts)
    while batch := list(islice(remaining, _AT_ONCE)):
        named = [any(control in text for control in controls) for text in batch]
        for names, kind, head, tokenizer in [(False, "texts", frame.head, plain), (True, "naming", [], literal)]:
            some = [text for text, name in zip(batch, named, strict=True) if name == names]
            expected = [[*head, *ids] for ids in _ids(reference, some)]
            compared = zip(some, expected, _encoded(tokenizer, some, bool(head)), strict=True)
            others = [each for each in compared if each[1] != each[2]]
            found[kind] += len(some)
            found["naming_differ" if names else "differ"] += len(others)
            examples = sorted([*examples, *others], key=lambda each: len(each[0]))[:SHOWN]
    found["examples"] = [_example(*each) for each in examples]
    return found


def is_same(found: dict[str, Any]) -> bool:
    """Say whether a comparison found no difference."""
    return found["texts"] > 0 and not (found["problems"] or found["differ"] or found["naming_differ"])


def said(found: dict[str, Any]) -> list[str]:
    """Return what a comparison found, a line each for a person; no lines where the ids are the same."""
    lines = list(found["problems"])
    for kind, of, which in [
        ("differ", "texts", "texts"),
        ("naming_differ", "naming", "texts that name control tokens, with split_special_tokens=True"),
    ]:
        if found[kind]:
            lines.append(f"other ids for {found[kind]:,} of {found[of]:,} {which}")
    return lines + [
        f"{example['text']!r}: {example['training']} in training, {example['transformers']} by AutoTokenizer"
        for example in found["examples"]
    ]


def _load(folder: Path, **options: bool) -> Any:
    from transformers import AutoTokenizer, LlamaConfig

    return AutoTokenizer.from_pretrained(folder, config=LlamaConfig(), local_files_only=True, **options)


def _problems(plain: Any, frame: Frame) -> list[str]:
    problems = []
    above = sorted(token for token, number in plain.get_vocab().items() if number >= frame.vocab_size)
    if above:
        problems.append(f"it has ids above the {frame.vocab_size:,} of the training: {', '.join(above[:SHOWN])}")
    for role, token in (("bos", frame.bos), ("eos", frame.eos)):
        theirs = getattr(plain, f"{role}_token_id")
        if token and theirs != token.id:
            problems.append(f"its {role.upper()} is {theirs}, {token.id} in training")
    return problems


def _ties(reference: Reference) -> list[str]:
    """Return what no comparison can clear: AutoTokenizer joins by a list of merges, which has one order (ties.py)."""
    if not isinstance(reference, SentencePieceReference) or not reference.tied:
        return []
    tied = listed([repr(piece) for piece in reference.tied])
    return [f"{tied} have one score: which is joined first, the text decides in training, and not in AutoTokenizer"]


def _ids(reference: Reference, texts: list[str]) -> Iterator[list[int]]:
    ids, lengths = reference.encode(Texts.of(text.encode() for text in texts))
    start = 0
    for length in lengths.tolist():
        yield ids[start : start + length].tolist()
        start += length


def _encoded(tokenizer: Any, texts: list[str], framed: bool) -> list[Ids]:
    """Return the ids of texts; None of one where tokenizers panics."""
    try:
        with panics_raised():
            return tokenizer(texts, add_special_tokens=framed)["input_ids"] if texts else []
    except Panic:
        return [None] if len(texts) == 1 else [ids for text in texts for ids in _encoded(tokenizer, [text], framed)]


def _example(text: str, training: Ids, theirs: Ids) -> dict[str, Any]:
    shown = {"training": training, "transformers": theirs}
    return {"text": text[:_SHOWN_CHARACTERS]} | {who: ids and ids[:_SHOWN_IDS] for who, ids in shown.items()}
