"""Read a tokenizer.json; parts that are unknown here, or that encode at random, are refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from pretrain_llama.errors import ConfigError, listed

MODEL_KEYS = {
    "BPE": {
        "dropout",
        "unk_token",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "fuse_unk",
        "byte_fallback",
        "ignore_merges",
        "vocab",
        "merges",
    },
    "Unigram": {"unk_id", "vocab", "byte_fallback"},
    "WordPiece": {"unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"},
    "WordLevel": {"unk_token", "vocab"},
}
# By step, the key that a sequence of it has, and its types. None of them encodes at random, or gives a text ids.
STEPS = {
    "normalizer": (
        "normalizers",
        "BertNormalizer ByteLevel Lowercase NFC NFD NFKC NFKD Nmt Precompiled Prepend Replace Strip StripAccents",
    ),
    "pre_tokenizer": (
        "pretokenizers",
        "BertPreTokenizer ByteLevel CharDelimiterSplit Digits FixedLength Metaspace Punctuation Split UnicodeScripts "
        "Whitespace WhitespaceSplit",
    ),
    "post_processor": ("processors", "BertProcessing ByteLevel RobertaProcessing TemplateProcessing"),
    "decoder": ("decoders", "BPEDecoder ByteFallback ByteLevel CTC Fuse Metaspace Replace Strip WordPiece"),
}
OTHER_KEYS = {"version", "truncation", "padding", "added_tokens", "model"}
MOST_IDS = 1 << 31  # a .bin holds ids of 16 or 32 bits, with a sign


def read_json(path: str | Path) -> dict[str, Any]:
    """Return a tokenizer.json without truncation, padding and post-processor: frames are put here.

    Raises:
        ConfigError: it is no JSON, it has a part that is not known here, or its model encodes at random.
    """
    try:
        definition = orjson.loads(Path(path).read_bytes())
        _check_parts(definition, path)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ConfigError(
            f"no tokenizer.json: {error!r}",
            where=path,
            action="give a tokenizer.model or a tokenizer.json in config.yaml",
        ) from error
    return definition | {"truncation": None, "padding": None, "post_processor": None}


def steps(definition: dict[str, Any], step: str) -> list[dict[str, Any]]:
    """Return a step of a tokenizer.json, such as its normalizer, or the parts of a sequence of them."""
    key, _ = STEPS[step]

    def parts(one: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        if one and key in one:
            for part in one[key]:
                yield from parts(part)
        elif one:
            yield one

    return list(parts(definition.get(step)))


def kind_of(model: dict[str, Any]) -> str:
    """Return the type of a model. Old files name none; they are told apart as tokenizers does it."""
    if "type" in model:
        return str(model["type"])
    if "merges" in model:
        return "BPE"
    if isinstance(model["vocab"], list):
        return "Unigram"
    return "WordPiece" if "max_input_chars_per_word" in model else "WordLevel"


def _check_parts(definition: dict[str, Any], path: str | Path) -> None:
    model = definition["model"]
    kind = kind_of(model)
    others = definition.keys() - STEPS.keys() - OTHER_KEYS
    unknown = [repr(key) for key in sorted(others) if definition[key] is not None]
    for step, (_, known) in STEPS.items():
        types = [part.get("type") for part in steps(definition, step)]
        unknown += [f"a {step} of type {one!r}" for one in types if one not in known.split()]
    if kind in MODEL_KEYS:
        told = sorted(model.keys() - MODEL_KEYS[kind] - {"type"})
        unknown += [f"{key!r} of its {kind} model" for key in told if model[key] is not None]
    else:
        unknown.append(f"a model of type {kind!r}")
    if unknown:
        raise ConfigError(
            f"the tokenizer has what is not known here: {listed(unknown)}",
            where=path,
            action="take a tokenizer without it, or its SentencePiece model (tokenizer.model), if there is one",
        )
    vocabulary, added = model["vocab"], definition.get("added_tokens") or []
    ids = [*(vocabulary.values() if isinstance(vocabulary, dict) else []), *(token["id"] for token in added)]
    if ids and max(ids) >= MOST_IDS:
        raise ConfigError(
            f"the tokenizer has an id of {max(ids):,}, and a .bin holds ids below {MOST_IDS:,}",
            where=path,
            action="take a tokenizer whose ids are numbered from 0",
        )
    if model.get("dropout"):
        raise ConfigError(
            f"the tokenizer encodes at random: with dropout {model['dropout']}, a text gets other tokens every time",
            where=path,
            action='use a copy of the file with "dropout": null, which is how a trained tokenizer encodes',
        )
