"""The frame of a document: the BOS and EOS ids before and after it, from the tokenizer as configured.

Receipts record it, a run folder takes it from them (manifest.json), and what samples or exports a run takes it from
there.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pretrain_llama import mappings
from pretrain_llama.errors import ConfigError, OperatorError
from pretrain_llama.tokenization.engines import Encoded, Reference
from pretrain_llama.tokenization.indexed import dtype_for

BESIDE = "tokenizer_config.json"


@dataclass(frozen=True)
class FrameToken:
    """A token of the frame: its id, and what the tokenizer calls it."""

    id: int
    token: str


@dataclass(frozen=True)
class Frame:
    """The tokens before (`bos`) and after (`eos`) each document, None for nothing; and the vocabulary's size in ids."""

    bos: FrameToken | None
    eos: FrameToken | None
    vocab_size: int

    @property
    def head(self) -> list[int]:
        """The ids before a document."""
        return [self.bos.id] if self.bos else []

    @property
    def tail(self) -> list[int]:
        """The ids after a document."""
        return [self.eos.id] if self.eos else []

    @property
    def dtype(self) -> np.dtype:
        """Of the .bin."""
        return dtype_for(self.vocab_size)

    @property
    def recorded(self) -> dict[str, Any]:
        """As receipts and manifests hold it: {"bos": {"id": 1, "token": "<s>"}, "eos": null}, say."""
        return {role: token and asdict(token) for role, token in (("bos", self.bos), ("eos", self.eos))}

    def around(self, encoded: Encoded) -> Encoded:
        """Return documents framed, in the dtype of the .bin.

        Raises:
            OperatorError: an id is not in the vocabulary.
        """
        ids, lengths = encoded
        if len(ids) and ids.max() >= self.vocab_size:
            raise OperatorError(
                f"id {ids.max()} in a vocabulary of {self.vocab_size}",
                where="the engine that encodes",
                action="report it, with the tokenizer's name and version",
            )
        framed_lengths = lengths + len(self.head) + len(self.tail)
        ends = np.cumsum(framed_lengths)
        positions = [(ends - framed_lengths + at, token) for at, token in enumerate(self.head)]
        positions += [(ends - len(self.tail) + at, token) for at, token in enumerate(self.tail)]
        framed = np.empty(framed_lengths.sum(), self.dtype)
        is_text = np.ones(len(framed), bool)
        for position, token in positions:
            framed[position] = token
            is_text[position] = False
        framed[is_text] = ids
        return framed, framed_lengths


def frame_of(reference: Reference, prepend_bos: bool, append_eos: bool) -> Frame:
    """Return the frame that a tokenizer puts around documents.

    Args:
        reference: its engine, which knows what config.yaml calls BOS and EOS.
        prepend_bos, append_eos: of config.yaml.

    Raises:
        ConfigError: the model lacks one; says what the tokenizer_config.json beside it calls so.
    """
    wanted = [role for role, is_wanted in (("bos", prepend_bos), ("eos", append_eos)) if is_wanted]
    found = {role: reference.frame_token(role) for role in wanted}
    if missing := [role for role in wanted if found[role] is None]:
        raise _missing(reference, missing)
    tokens = {role: FrameToken(*token) for role, token in found.items() if token}
    return Frame(tokens.get("bos"), tokens.get("eos"), reference.vocab_size)


def _missing(reference: Reference, roles: list[str]) -> ConfigError:
    lacking = [
        f"{role.upper()} token" + (f" {reference.named[role]!r}" if reference.named[role] else "") for role in roles
    ]
    told = {role: told_beside(reference.path, f"{role}_token") for role in roles}
    keys = [f"{role}_token" + (f" ({BESIDE} beside it says {told[role]!r})" if told[role] else "") for role in roles]
    switches = [{"bos": "prepend_bos", "eos": "append_eos"}[role] for role in roles]
    return ConfigError(
        f"the tokenizer has no {' and no '.join(lacking)}",
        where=reference.path,
        action=f"in config.yaml, name {'it' if len(roles) == 1 else 'them'} as {' and '.join(keys)}, "
        f"or switch off {' and '.join(switches)}",
    )


def told_beside(model: str | Path, key: str) -> str | None:
    """Return what the tokenizer_config.json beside a model file calls a token, None where it does not tell.

    Args:
        model: path of the tokenizer.
        key: bos_token or eos_token.

    Raises:
        ConfigError: that file is no JSON.
    """
    beside = Path(model).with_name(BESIDE)
    told = mappings.read(beside) if beside.is_file() else None
    token = told.get(key) if isinstance(told, dict) else None
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) and token else None
