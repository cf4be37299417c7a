"""Recognize files that are often mistaken for a tokenizer.model or tokenizer.json, and name the right one."""

import re
from pathlib import Path

from pretrain_llama.errors import ConfigError

LOOKED_AT = 1 << 12  # bytes
_OF_THE_HUB = "take the tokenizer.json that the Hub has for the same model, beside its config.json"
_KINDS = (
    # A line of it: the bytes of a token in base64, and its rank. Llama 3's own tokenizer.model is such a file.
    (rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n", "tiktoken's: lines of base64 and a rank", _OF_THE_HUB),
    (rb"version https://git-lfs", "a pointer of Git LFS to a file that was not fetched", "fetch it: git lfs pull"),
    (rb"#version: [^\n]*\n\S+ \S+\n", "the merges of a GPT-2 alone", _OF_THE_HUB),
)


def check_kind(path: str | Path) -> None:
    """Check that a file is none that is often taken for a tokenizer; what else is wrong with it, its engine says.

    Raises:
        ConfigError: it is one of those.
    """
    try:
        with open(path, "rb") as file:
            opening = file.read(LOOKED_AT)
    except OSError:
        return
    for pattern, kind, action in _KINDS:
        if re.match(pattern, opening):
            raise ConfigError(f"the tokenizer's file is {kind}", where=path, action=action)
