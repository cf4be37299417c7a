"""Convert a SentencePiece model to a tokenizer.json that encodes as SentencePiece does.

transformers reads every tokenizer.model as if it were Llama 2's: it skips the normalization, removes no spaces, and
puts a space before a text only where there is none. So an export has a tokenizer.json, too, which holds all of it:

    normalizer      its rules (normalization.py), and spaces as it removes, adds and writes them
    pre-tokenizer   parts user-defined symbols from the text around them
    model           BPE joins the two neighbours that make the piece of the highest score: so all pairs that make a
                    piece are merges, in the order of the scores. Unigram takes pieces and scores as they are. Of a
                    model of characters, nothing is joined
    added tokens    control tokens

A tokenizer.json cannot express a model of words, nor a piece whose parts are no pieces, or unused ones. Where a Unigram
model can write a text in two ways of equal score, it may take the other one; `agreement.py` finds such texts.
"""

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from pretrain_llama.exports.normalization import (
    ESCAPE,
    Step,
    escaped,
    normalizer_steps,
    one_of,
    replace,
    replace_pattern,
    split,
)

SPACE = "▁"  # as it stands in pieces
_PRIVATE = 0xE000  # the first of Unicode's characters for private use
_UNIGRAM, _BPE, _CHAR = 1, 2, 4  # TrainerSpec.model_type
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = range(1, 5)  # SentencePiece.type
_NOTHING = {"version": "1.0", "truncation": None, "padding": None, "post_processor": None}


def tokenizer_json(proto: Any) -> dict[str, Any] | None:
    """Return a SentencePiece model, a ModelProto, as the content of a tokenizer.json; None of a model of words."""
    kind = proto.trainer_spec.model_type
    if kind not in (_UNIGRAM, _BPE, _CHAR):
        return None
    symbols = [piece.piece for piece in proto.pieces if piece.type == _USER_DEFINED]
    model = _unigram(proto) if kind == _UNIGRAM else _bpe(proto, _merges(proto) if kind == _BPE else [], bool(symbols))
    parts = [split(one_of(symbols))] if symbols else []
    parts += [_never_found(proto)] if symbols or kind == _UNIGRAM else []
    return _NOTHING | {
        "added_tokens": [
            _added_token(number, piece.piece)
            for number, piece in enumerate(proto.pieces)
            if piece.type in (_UNKNOWN, _CONTROL)
        ],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(proto, symbols)},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": parts} if parts else None,
        "decoder": {"type": "Sequence", "decoders": _decoders(proto)},
        "model": model,
    }


def _added_token(number: int, content: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": number, "content": content, **flags, "special": True}


def _normalizers(proto: Any, symbols: list[str]) -> list[Step]:
    """Return what SentencePiece's `Normalizer::Normalize` does, which leaves user-defined symbols as they are."""
    rules = proto.normalizer_spec.precompiled_charsmap
    steps = normalizer_steps(rules) if rules else []
    normalize = normalizer(steps)
    changed = sorted((symbol for symbol in symbols if normalize(symbol) != symbol), key=len, reverse=True)
    hidden = {symbol: ESCAPE + chr(_PRIVATE + number) for number, symbol in enumerate(changed)}
    there = [replace(symbol, name) for symbol, name in hidden.items()]
    back = [replace(name, symbol) for symbol, name in hidden.items()]
    joined = _joined_spaces(proto)
    return (escaped([*there, *steps, *joined, *back]) if rules else joined) + _outer_spaces(proto)


def normalizer(steps: list[Step]) -> Callable[[str], str]:
    """Return what normalizers of a tokenizer.json do to a text."""
    from tokenizers import Tokenizer

    model = {"type": "BPE", "vocab": {}, "merges": []}
    content = {"model": model, "normalizer": {"type": "Sequence", "normalizers": steps}}
    return Tokenizer.from_str(json.dumps(content)).normalizer.normalize_str


def _joined_spaces(proto: Any) -> list[Step]:
    """Return what leaves one space where there are several, and none before a text."""
    if not proto.normalizer_spec.remove_extra_whitespaces:
        return []
    return [replace_pattern(r"\A +", ""), replace_pattern(" +", " ")]


def _outer_spaces(proto: Any) -> list[Step]:
    """Return what removes spaces behind a text, and puts one before or behind it; all are then written as ▁."""
    spec, is_suffix = proto.normalizer_spec, proto.trainer_spec.treat_whitespace_as_suffix
    space = SPACE if spec.escape_whitespaces else " "
    is_added, end = spec.add_dummy_prefix and is_suffix, r"(?<=[\s\S])\z"
    if spec.remove_extra_whitespaces:
        end = rf"[ {SPACE}]+\z" + (rf"|(?<=[^ {SPACE}])\z" if is_added else "")
    steps: list[Step] = []
    if spec.remove_extra_whitespaces or is_added:
        steps.append(replace_pattern(end, space if is_added else ""))
    if spec.add_dummy_prefix and not is_suffix:
        steps.append({"type": "Prepend", "prepend": space})
    return [*steps, replace(" ", space)]


def _decoders(proto: Any) -> list[Step]:
    """Return what SentencePiece's `Decode` does: the space that was put before a text is taken away."""
    spec = proto.normalizer_spec
    steps: list[Step] = [replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if spec.add_dummy_prefix and not proto.trainer_spec.treat_whitespace_as_suffix:
        steps.append(replace_pattern(r"\A +" if spec.remove_extra_whitespaces else r"\A ", ""))
    return steps


def _bpe(proto: Any, merges: list[list[str]], has_symbols: bool) -> dict[str, Any]:
    """Return a BPE model; where there are user-defined symbols, what is a piece as a whole is not made of merges."""
    return {
        "type": "BPE",
        "unk_token": proto.pieces[_unknown(proto)].piece,
        "fuse_unk": True,
        "byte_fallback": proto.trainer_spec.byte_fallback,
        "ignore_merges": has_symbols,
        "vocab": {piece.piece: number for number, piece in enumerate(proto.pieces)},
        "merges": merges,
    }


def _merges(proto: Any) -> list[list[str]]:
    """Return all pairs of pieces that make a piece, the highest score first."""
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == _NORMAL}
    pairs = [
        (-score, -at, piece[:at], piece[at:])
        for piece, score in scores.items()
        for at in range(1, len(piece))
        if piece[:at] in scores and piece[at:] in scores
    ]
    return [[first, second] for _, _, first, second in sorted(pairs)]


def _unigram(proto: Any) -> dict[str, Any]:
    """Return a Unigram model in which a piece that no text may get scores below all the characters that it has."""
    pieces = proto.pieces
    lowest = min((piece.score for piece in pieces if piece.type == _NORMAL), default=0.0)
    never = lowest * (1 + max(len(piece.piece) for piece in pieces))
    scores = {_NORMAL: lambda piece: piece.score, _USER_DEFINED: lambda piece: 0.0}
    return {
        "type": "Unigram",
        "unk_id": _unknown(proto),
        "vocab": [[piece.piece, scores.get(piece.type, lambda piece: never)(piece)] for piece in pieces],
        "byte_fallback": proto.trainer_spec.byte_fallback,
    }


def _never_found(proto: Any) -> Step:
    """Return a pre-tokenizer that cuts what a text may not get, such as "</s>", where no other piece is cut.

    Unigram models find all pieces, however low they score: characters that are no pieces score lower still. BPE that
    ignores merges finds those that a text, or what is between two symbols, is as a whole.
    """
    normal = [piece.piece for piece in proto.pieces if piece.type == _NORMAL]
    whole = {piece[at : at + 2] for piece in normal for at in range(len(piece) - 1)}
    cut: dict[str, list[str]] = defaultdict(list)  # what follows, by what comes before
    for piece in proto.pieces:
        if piece.type not in (_NORMAL, _USER_DEFINED):
            name = piece.piece
            at = next((at for at in range(1, len(name)) if name[at - 1 : at + 1] not in whole), 0)
            if at:
                cut[name[:at]].append(name[at:])
    return split("|".join(f"(?<={one_of([before])})(?={one_of(rest)})" for before, rest in cut.items()) or "(?!)")


def _unknown(proto: Any) -> int:
    return next(number for number, piece in enumerate(proto.pieces) if piece.type == _UNKNOWN)
