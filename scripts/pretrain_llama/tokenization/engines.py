"""Engines that encode texts: the reference of each kind of model, and gigatoken, which is fast.

All encode control strings in a text, such as </s>, as the text that they are: a document must not end itself. The
references use their own threads within a batch; gigatoken encodes a batch in each thread, which it does faster than one
in many (measured: 1.1 to 1.5 times, with 2 threads).
"""

import os
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pretrain_llama.errors import ConfigError
from pretrain_llama.tokenization.texts import Texts

# ids: (tokens of all texts,), one text after the other; lengths: (texts,) int64, tokens of each
Encoded = tuple[np.ndarray, np.ndarray]

# What a tokenizer makes of a text before it looks for pieces: "ﬁne" becomes "fine", say.
Normalize = Callable[[str], str]

# Normalizers of a tokenizer.json that write spaces as ▁, as Llama-2's does, and change nothing else.
MARK_SPACES = ({"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"})


class SentencePieceReference:
    """SentencePiece's own encoder, for a tokenizer.model.

    Attributes:
        control_strings: of its control tokens.
        user_strings: of the tokens that are found in a text before all pieces, and are no control tokens.
        normalize: what it makes of a text first; None where that is nothing, but for spaces written as ▁.
    """

    def __init__(self, model: str, threads: int) -> None:
        import sentencepiece
        from sentencepiece import sentencepiece_model_pb2 as protobuf

        try:
            self._model = sentencepiece.SentencePieceProcessor(model_file=model)
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"no SentencePiece model: {error}",
                where=model,
                action="give a tokenizer.model or a tokenizer.json in config.yaml",
            ) from error
        self.name = f"sentencepiece {version('sentencepiece')}"
        self.vocab_size = self._model.vocab_size()
        self.control_strings = [self._model.id_to_piece(i) for i in range(self.vocab_size) if self._model.is_control(i)]
        proto = protobuf.ModelProto.FromString(self._model.serialized_model_proto())
        self.user_strings = [piece.piece for piece in proto.pieces if piece.type == piece.USER_DEFINED]
        spec = proto.normalizer_spec
        is_plain = not spec.precompiled_charsmap and not spec.remove_extra_whitespaces
        self.normalize: Normalize | None = None if is_plain else self._model.normalize
        self.at_once = 1
        self._threads = threads

    def pieces(self) -> dict[int, str]:
        """Return the pieces by id."""
        return {number: self._model.id_to_piece(number) for number in range(self.vocab_size)}

    def token_id(self, token: str | None, role: str) -> int | None:
        """Return the id of the model's BOS or EOS (`role`); None if it has none. A token given by name wins."""
        found = self._model.piece_to_id(token) if token else getattr(self._model, f"{role}_id")()
        return None if found in (-1, self._model.unk_id()) else found

    def encode(self, texts: Texts) -> Encoded:
        """Return the ids of texts."""
        return _joined(self._model.encode([text.decode() for text in texts], num_threads=self._threads))

    def decode(self, ids: list[int]) -> str:
        """Return the text of some ids, control tokens left out."""
        return self._model.decode(ids)


class TokenizersReference:
    """Hugging Face tokenizers' own encoder, for a tokenizer.json.

    Attributes:
        control_strings: of its control tokens.
        user_strings: of the tokens that are found in a text before all pieces, and are no control tokens.
        normalize: what it makes of a text first; None where that is nothing, but for spaces written as ▁.
    """

    def __init__(self, model: str, threads: int) -> None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # its Rust library reads it once, when it first encodes
        import tokenizers

        try:
            self._model = tokenizers.Tokenizer.from_file(model)
        except Exception as error:  # what it raises is a bare Exception
            raise ConfigError(
                f"no tokenizer.json: {error}",
                where=model,
                action="give a tokenizer.model or a tokenizer.json in config.yaml",
            ) from error
        self._model.encode_special_tokens = True
        self._model.no_truncation()
        self._model.no_padding()
        definition = orjson.loads(Path(model).read_bytes())
        is_plain = all(part in MARK_SPACES for part in _parts(definition.get("normalizer"), "normalizers"))
        normalize = None if is_plain else self._model.normalizer.normalize_str
        self.normalize = _with_spaces(normalize, _parts(definition.get("pre_tokenizer"), "pretokenizers"))
        self.name = f"tokenizers {version('tokenizers')}"
        self.at_once = 1
        self.vocab_size = max(self._model.get_vocab(with_added_tokens=True).values()) + 1
        added = self._model.get_added_tokens_decoder().values()
        self.control_strings = [token.content for token in added if token.special]
        self.user_strings = [token.content for token in added if not token.special]

    def pieces(self) -> dict[int, str]:
        """Return the pieces by id."""
        return {number: piece for piece, number in self._model.get_vocab(with_added_tokens=True).items()}

    def token_id(self, token: str | None, role: str) -> int | None:
        """Return the id of a token; None if it has none. The file does not say which token has which role."""
        return self._model.token_to_id(token) if token else None

    def encode(self, texts: Texts) -> Encoded:
        """Return the ids of texts."""
        encodings = self._model.encode_batch_fast([text.decode() for text in texts], add_special_tokens=False)
        return _joined([encoding.ids for encoding in encodings])

    def decode(self, ids: list[int]) -> str:
        """Return the text of some ids, control tokens left out."""
        return self._model.decode(ids)


Reference = SentencePieceReference | TokenizersReference


def load_reference(model: str | Path, threads: int = 1) -> Reference:
    """Return the reference engine of a model file; threads: cores to encode with.

    Raises:
        ConfigError: it is no SentencePiece model and no tokenizer.json.
    """
    kind = TokenizersReference if str(model).endswith(".json") else SentencePieceReference
    return kind(str(model), threads)


class Gigatoken:
    """gigatoken's encoder, for either kind of model; its control tokens are removed, so that text stays text."""

    def __init__(self, model: str, threads: int) -> None:
        """threads: that will encode at once."""
        import gigatoken
        from gigatoken._load.sentencepiece import sentencepiece_to_tokenizer_json

        self.name = f"gigatoken {version('gigatoken')}"
        content = Path(model).read_bytes()
        definition = orjson.loads(content if model.endswith(".json") else sentencepiece_to_tokenizer_json(content))
        definition["added_tokens"] = [t for t in definition.get("added_tokens", []) if not t["special"]]
        self._model = gigatoken.Tokenizer.from_json(orjson.dumps(definition))
        self.at_once = threads

    def encode(self, texts: Texts) -> Encoded:
        """Return the ids of texts."""
        if not len(texts):
            return _joined([])
        layout = self._model.encode_batch(_as_awkward(texts), parallel=False).layout
        offsets = layout.offsets.data
        return layout.content.data[offsets[0] : offsets[-1]], np.diff(offsets)


def _parts(definition: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """Return a step of a tokenizer.json, or the steps of a sequence of them, which it holds under the key."""
    if not definition:
        return []
    return [part for step in definition[key] for part in _parts(step, key)] if key in definition else [definition]


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


def _joined(encoded: Iterable[list[int]]) -> Encoded:
    encoded = list(encoded)
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    ids = np.fromiter((i for one in encoded for i in one), np.int32, int(lengths.sum()))
    return ids, lengths


def _as_awkward(texts: Texts) -> Any:
    import awkward

    characters = awkward.contents.NumpyArray(texts.data, parameters={"__array__": "char"})
    offsets = awkward.index.Index64(texts.offsets)
    return awkward.Array(awkward.contents.ListOffsetArray(offsets, characters, parameters={"__array__": "string"}))
