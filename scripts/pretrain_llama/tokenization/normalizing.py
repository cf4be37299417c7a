"""Apply a tokenizer's normalizer to a text, as before its pieces are looked up: "ﬁne" becomes "fine", say."""

from collections.abc import Callable
from typing import Any

Normalize = Callable[[str], str]

# Normalizers of a tokenizer.json that write spaces as ▁, as Llama-2's does, and change nothing else.
_MARK_SPACES = ({"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"})


def normalize_of(
    normalizers: list[dict[str, Any]], normalize: Normalize | None, pre_tokenizers: list[dict[str, Any]]
) -> Normalize | None:
    """Return a tokenizer.json's normalizer as a function; None if it changes nothing but spaces, written as ▁.

    Args:
        normalizers, pre_tokenizers: of its definition.
        normalize: what the normalizers do, if there are any.
    """
    is_plain = all(part in _MARK_SPACES for part in normalizers)
    return _with_spaces(None if is_plain else normalize, pre_tokenizers)


def _with_spaces(normalize: Normalize | None, pre_tokenizers: list[dict[str, Any]]) -> Normalize | None:
    """Return what normalizes, and then makes one of the texts that pre-tokenizers make one: "x" and " x", say.

    Metaspace writes another character for spaces, not always ▁. It and ByteLevel may put a space before a text that
    has none.
    """
    marks = {"▁"} | {part["replacement"] for part in pre_tokenizers if part["type"] == "Metaspace"}
    prepends = any(
        part.get("prepend_scheme", "always") != "never" if part["type"] == "Metaspace" else part["add_prefix_space"]
        for part in pre_tokenizers
        if part["type"] in ("Metaspace", "ByteLevel")
    )
    if marks == {"▁"} and not prepends:
        return normalize

    def spaced(text: str) -> str:
        text = normalize(text) if normalize else text
        for mark in marks:
            text = text.replace(mark, " ")
        return f" {text}" if prepends and text and not text.startswith(" ") else text

    return spaced
