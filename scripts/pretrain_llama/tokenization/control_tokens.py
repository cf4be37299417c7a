"""Keep texts from producing control tokens, by rewriting the tokenizer: text stays text.

Control tokens are BOS and EOS, as the configuration names them, and those that the tokenizer marks as such.
SentencePiece finds no piece of type CONTROL in a text. tokenizers does not look for special added tokens
(encode_special_tokens), yet its model may hold them as pieces: a Unigram model then gives "</s>" the id of EOS, and
so do WordPiece, WordLevel and a BPE that ignores its merges. Such pieces get other names here, of 128 random bits,
which no text holds; their ids stay.

Which pieces a text may get follows from how the models encode: huggingface/tokenizers, tokenizers/src/models/*/.
"""

import re
import secrets
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama.errors import ConfigError, listed
from pretrain_llama.tokenization.tokenizer_json import kind_of, steps

BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Shielded:
    """A tokenizer.json whose control tokens no text can reach.

    Attributes:
        content: what it says, the control tokens that text could reach renamed.
        renamed: these tokens, by their new names.
        controls: its control tokens, but for the unknown one.
        ordinary: its added tokens that are no control tokens: they are found in texts.
    """

    content: dict[str, Any]
    renamed: dict[str, str]
    controls: list[str]
    ordinary: list[str]


def shield_model(proto: Any, named: Collection[str], path: str | Path) -> list[str]:
    """Mark user-defined symbols of a SentencePiece model (ModelProto) as control tokens; return which.

    Raises:
        ConfigError: a named one is a piece that text is written with.
    """
    pieces = {piece.piece: piece for piece in proto.pieces}
    shielded = [pieces[token] for token in named if token in pieces]
    shielded = [piece for piece in shielded if piece.type not in (piece.CONTROL, piece.UNKNOWN)]
    if written := [piece.piece for piece in shielded if piece.type != piece.USER_DEFINED]:
        raise _written(written, path)
    for piece in shielded:
        piece.type = piece.CONTROL
    if shielded:
        proto.DiscardUnknownFields()  # such as samples of what it encoded texts to, which it checks when it is loaded
    return [piece.piece for piece in shielded]


def shield_json(definition: dict[str, Any], named: Collection[str], path: str | Path) -> Shielded:
    """Return a tokenizer.json, as `read_json` does, whose control tokens no text can reach.

    Args:
        definition: what it says.
        named: its BOS and EOS, which the file itself does not tell.
        path: of the file, for the message.

    Raises:
        ConfigError: text is written with one of them.
    """
    model = definition["model"]
    added = [token for token in definition.get("added_tokens") or [] if token["content"]]  # tokenizers leaves out ""
    vocabulary = model["vocab"]
    pieces = set(vocabulary) if isinstance(vocabulary, dict) else {piece for piece, _ in vocabulary}
    contents = [token["content"] for token in added]
    special = {token["content"] for token in added if token["special"]}
    controls = special | {token for token in named if token in pieces or token in contents}
    unknown = unknown_token(model)
    if unknown in named and _may_meet_unknown(definition):
        raise ConfigError(
            f"{unknown!r} frames documents, and stands for characters that the tokenizer does not know",
            where=path,
            action="name another token as bos_token or eos_token, or take a tokenizer that knows every byte",
        )
    written = _written_with(model, pieces & (controls | {unknown}))
    if written - {unknown}:
        raise _written(sorted(written - {unknown}), path)
    if twice := _twice(vocabulary, controls | {unknown}):
        raise ConfigError(
            f"the vocabulary has {listed(twice)} twice, so a control token has two ids",
            where=path,
            action="take a tokenizer that has each control token once",
        )
    reached = {token for token in controls & set(contents) if token not in special}
    if kind_of(model) != "BPE" or model.get("ignore_merges"):  # which find pieces that no merges lead to
        reached |= pieces & (controls | {unknown}) - written
    names = {token: f"<{secrets.token_hex(16)}>" for token in sorted(reached)}
    return Shielded(
        _with_names(definition, names) if names else definition,
        {name: token for token, name in names.items()},
        sorted(controls),
        [token for token in dict.fromkeys(contents) if token not in controls],
    )


def check_apart(ids: dict[str, int], shielded: Shielded, encoder: Any, path: str | Path) -> None:
    """Check that a control token's id is its own alone, and that a text always gets the same one of the added tokens.

    tokenizers keeps added tokens in tables of random order: of two that its normalizer makes one, a text gets either.

    Args:
        ids: of all tokens, by their own names.
        shielded: the tokenizer.json.
        encoder: what tokenizers loaded of it.
        path: of the file, for the message.

    Raises:
        ConfigError: they are not.
    """
    names = {ids[token]: token for token in shielded.controls}
    shared = [f"{token!r} and {names[number]!r}" for token, number in ids.items() if names.get(number, token) != token]
    problem = f"a control token has no id of its own: {listed(sorted(shared))}" if shared else None
    normalized: dict[str, set[str]] = {}
    for token in encoder.get_added_tokens_decoder().values():
        if token.normalized and encoder.normalizer:
            normalized.setdefault(encoder.normalizer.normalize_str(token.content), set()).add(repr(token.content))
    if twins := [" and ".join(sorted(tokens)) for tokens in normalized.values() if len(tokens) > 1]:
        problem = f"the tokenizer encodes at random: its normalizer makes one of {listed(sorted(twins))}"
    if problem:
        raise ConfigError(problem, where=path, action="take a tokenizer whose tokens can be told apart")


def _written(tokens: list[str], path: str | Path) -> ConfigError:
    return ConfigError(
        f"text is written with {listed([repr(token) for token in tokens])}, which cannot be a control token, too",
        where=path,
        action="name other tokens as bos_token and eos_token, or take a tokenizer whose control tokens are pieces of "
        "their own: no character, no byte, and nothing that merges make",
    )


def _twice(vocabulary: dict[str, int] | list[Any], tokens: set[str]) -> list[str]:
    """Return the tokens that a vocabulary has more than once; one that is a list, as Unigram's, can."""
    counts = Counter(piece for piece, _ in vocabulary) if isinstance(vocabulary, list) else Counter()
    return sorted(repr(token) for token in tokens if counts[token] > 1)


def unknown_token(model: dict[str, Any]) -> str:
    """Return the token for what a model does not know; empty if it has none."""
    if kind_of(model) != "Unigram":
        return model.get("unk_token") or ""
    return "" if model.get("unk_id") is None else model["vocab"][model["unk_id"]][0]


def _written_with(model: dict[str, Any], tokens: set[str]) -> set[str]:
    """Return those pieces of the vocabulary that are a character, a byte or a merge: texts are made of them."""
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""

    def is_symbol(token: str) -> bool:
        bare = {part.removesuffix(end) for part in (token, token.removeprefix(prefix)) for end in ("", suffix)}
        return 1 in map(len, bare) or bool(model.get("byte_fallback") and BYTE_PIECE.fullmatch(token))

    symbols = {token for token in tokens if is_symbol(token)}
    merged = {first + second[len(prefix) :] for first, second in _merges(model)} if tokens else set()
    return symbols | (tokens & merged)


def _merges(model: dict[str, Any]) -> list[list[str]]:
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", [])]


def _may_meet_unknown(definition: dict[str, Any]) -> bool:
    """Say whether a text may hold what a model does not know; False where it knows all bytes."""
    model = definition["model"]
    if kind_of(model) != "BPE":
        return True
    if model.get("byte_fallback"):
        return not {f"<0x{byte:02X}>" for byte in range(256)} <= model["vocab"].keys()
    from tokenizers.pre_tokenizers import ByteLevel

    last = [part["type"] for step in ("normalizer", "pre_tokenizer") for part in steps(definition, step)[-1:]]
    prefixes, suffixes = ({"", model.get(key) or ""} for key in ("continuing_subword_prefix", "end_of_word_suffix"))
    every = {f"{prefix}{byte}{suffix}" for prefix in prefixes for byte in ByteLevel.alphabet() for suffix in suffixes}
    return last[-1:] != ["ByteLevel"] or not every <= model["vocab"].keys()


def _with_names(definition: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return a definition in which some tokens have other names, and are special.

    Merges of them are left out: no merge leads to one, so none of these is ever made.
    """
    model = definition["model"]
    changed: dict[str, Any] = {}
    if isinstance(model["vocab"], dict):
        changed["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
    else:
        changed["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token") in names:
        changed["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        changed["merges"] = [pair for pair in _merges(model) if not names.keys() & set(pair)]
    added = [
        token | {"content": names[token["content"]], "special": True, "normalized": False}
        if token["content"] in names
        else token
        for token in definition.get("added_tokens") or []
    ]
    return definition | {"model": model | changed, "added_tokens": added}
