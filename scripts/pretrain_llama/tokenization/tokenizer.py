"""A tokenizer as configured, and its identity."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pretrain_llama.errors import ConfigError
from pretrain_llama.files import sha256
from pretrain_llama.tokenization.engines import load_reference


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer as configured.

    Attributes:
        name: as in config.yaml.
        model: path of a SentencePiece model, or of a tokenizer.json (its name ends in .json).
        prepend_bos, append_eos: what frames each document.
        bos_token, eos_token: of a tokenizer.json, which does not say; a SentencePiece model does.
        held_out_fraction: of the documents, 0 to 1, held out of training: shards of another one hold other documents.
    """

    name: str
    model: str
    prepend_bos: bool = True
    append_eos: bool = True
    bos_token: str | None = None
    eos_token: str | None = None
    held_out_fraction: float = 0.0

    @cached_property
    def identity(self) -> str:
        """{name}.{eight digits}: part of the path of all that is made with it.

        The digits open the SHA-256 of, in this order: the model file's SHA-256 in hexadecimal, prepend_bos and
        append_eos as "0" or "1", then bos_token and eos_token where they are given, and the fraction if it is not 0.

        Raises:
            ConfigError: there is no such model file.
        """
        if not Path(self.model).is_file():
            raise ConfigError(
                f"tokenizer {self.name!r} has no model file",
                where=self.model,
                action="put the tokenizer.model or tokenizer.json there, or correct its path in config.yaml",
            )
        tokens = f"{self.bos_token or ''}{self.eos_token or ''}"
        hashed = f"{sha256(self.model)}{self.prepend_bos:d}{self.append_eos:d}{tokens}{self.held_out_fraction or ''}"
        return f"{self.name}.{hashlib.sha256(hashed.encode()).hexdigest()[:8]}"

    @cached_property
    def vocab_size(self) -> int:
        """Number of its ids.

        Raises:
            ConfigError: the model file is of no kind that is read.
        """
        return load_reference(self.model).vocab_size

    @property
    def file_name(self) -> str:
        """What its copy is called: tokenizer.model or tokenizer.json."""
        return "tokenizer.json" if self.model.endswith(".json") else "tokenizer.model"
