"""Build a tokenizer whose ids reveal where a pre-tokenizer splits a text, for a byte-level tokenizer.json.

Two engines may split a text differently and still give the same ids, since few pieces of a tokenizer reach across a
split. In the tokenizer made here, any two bytes are a piece of which the first can end a character and the second can
begin one. Those with an ASCII character come last: the neighbours of a multi-byte character join it wherever they may,
so the ids tell whether there is a split before it, and whether there is one after it.
"""

from itertools import product
from typing import Any

from pretrain_llama.tokenization.tokenizer_json import steps

BYTES = range(256)
LEADS, CONTINUATIONS = range(0xC2, 0xF5), range(0x80, 0xC0)


def showing_boundaries(definition: dict[str, Any]) -> dict[str, Any] | None:
    """Return a tokenizer.json with the same normalizer and pre-tokenizer; None unless it is byte-level."""
    parts = steps(definition, "pre_tokenizer")
    if definition["model"].get("byte_fallback") or not any(part["type"] == "ByteLevel" for part in parts):
        return None
    written = _written()
    ends, beginnings = [*range(0x80), *CONTINUATIONS], [*range(0x80), *LEADS]
    pairs = sorted(product(ends, beginnings), key=lambda pair: max(pair) < 0x80)
    merges = [(written[end], written[start]) for end, start in pairs]
    pieces = [*written, *(first + second for first, second in merges)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    model = definition["model"] | {"vocab": vocabulary, "merges": merges, "unk_token": None}
    return definition | {"model": model, "added_tokens": []}


def _written() -> list[str]:
    """Return the character that stands for each byte in a vocabulary (source: bytes_to_unicode in OpenAI's GPT-2)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = iter(range(0x100, 0x200))
    return [chr(byte) if byte in shown else chr(next(hidden)) for byte in BYTES]
