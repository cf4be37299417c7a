"""A SentencePiece tokenizer, and its identity."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pretrain_llama.errors import ConfigError
from pretrain_llama.files import sha256


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer as configured: a name, the path of a SentencePiece model, and what frames each document."""

    name: str
    model: str
    prepend_bos: bool = True
    append_eos: bool = True

    @cached_property
    def identity(self) -> str:
        """{name}.{eight digits}: part of the path of all that is made with it.

        The digits open the SHA-256 of, in this order: the model file's SHA-256 in hexadecimal, then
        prepend_bos and append_eos as "0" or "1".

        Raises:
            ConfigError: there is no such model file.
        """
        if not Path(self.model).is_file():
            raise ConfigError(
                f"tokenizer {self.name!r} has no model file",
                where=self.model,
                action="put the SentencePiece model there, or correct its path in config.yaml",
            )
        hashed = f"{sha256(self.model)}{self.prepend_bos:d}{self.append_eos:d}"
        return f"{self.name}.{hashlib.sha256(hashed.encode()).hexdigest()[:8]}"


class SentencePieceEngine:
    """Encode documents with SentencePiece; control strings in a text, such as </s>, are encoded as text.

    Attributes:
        vocab_size: number of ids.
        dtype: smallest of uint16 and int32 that holds every id, chosen as Megatron does (uint16 below 65,500 ids).
    """

    def __init__(self, model: str, prepend_bos: bool, append_eos: bool, threads: int) -> None:
        """Load the SentencePiece model from its path; threads: cores to encode with.

        Raises:
            ConfigError: the file is no SentencePiece model, or lacks the BOS or EOS id that documents shall have.
        """
        import sentencepiece

        try:
            self._model = sentencepiece.SentencePieceProcessor(model_file=model)
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"no SentencePiece model: {error}", where=model, action="give a tokenizer.model file in config.yaml"
            ) from error
        self._threads = threads
        self.vocab_size = self._model.vocab_size()
        self.dtype = np.dtype(np.uint16 if self.vocab_size < 65500 else np.int32)
        self._head = [self._model.bos_id()] if prepend_bos else []
        self._tail = [self._model.eos_id()] if append_eos else []
        if -1 in self._head + self._tail:
            raise ConfigError(
                "the model has no BOS or no EOS token",
                where=model,
                action="set the tokenizer's prepend_bos or append_eos to false in config.yaml",
            )

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """Return the ids of each text, framed by BOS and EOS as configured: arrays of shape (tokens,)."""
        encoded = self._model.encode(texts, num_threads=self._threads)
        return [np.array(self._head + ids + self._tail, dtype=self.dtype) for ids in encoded]
