"""Engines that encode texts: a reference for each kind of model, and gigatoken, the fast one.

All encode control strings in a text, such as </s>, as the text that they are: a document must not end itself. The
references use their own threads within a batch; gigatoken encodes a batch in each thread, which it does faster than one
in many (measured: 1.1 to 1.5 times, with 2 threads).
"""

import os
from base64 import b64decode
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pretrain_llama.errors import ConfigError
from pretrain_llama.tokenization.control_tokens import check_apart, shield_json, shield_model
from pretrain_llama.tokenization.model_files import check_kind
from pretrain_llama.tokenization.normalizing import Normalize, normalize_of
from pretrain_llama.tokenization.panics import Panic, panics_raised
from pretrain_llama.tokenization.texts import Texts
from pretrain_llama.tokenization.ties import tied_pieces, tied_runs
from pretrain_llama.tokenization.tokenizer_json import read_json, steps

GIVE = "give a tokenizer.model or a tokenizer.json in config.yaml"

# ids: (tokens of all texts,), one text after the other; lengths: (texts,) int64, tokens of each
Encoded = tuple[np.ndarray, np.ndarray]

# By role, bos or eos, what the configuration calls the token; None where it does not.
Named = Mapping[str, str | None]


class SentencePieceReference:
    """SentencePiece's own encoder, for a tokenizer.model.

    Attributes:
        path: of the model.
        named: by role, bos or eos, what the configuration calls the token; None leaves it to the model.
        content: the model as it encodes: a user-defined symbol that is named is a control token in it.
        shielded: tokens that texts would otherwise be given by what they say.
        control_strings: of its control tokens.
        user_strings: of the tokens that are found in a text before all pieces, and are no control tokens.
        normalize: what it makes of a text first; None where that is nothing, but for spaces written as ▁.
        charsmap: table of the strings that its normalizer replaces (charsmap.py); empty where it has none.
        tied: pieces of one score (ties.py), whose order the text decides, if there are any.
        tied_runs: the longest of each group of such pieces that are runs of one character.
    """

    def __init__(self, model: str, threads: int, named: Named) -> None:
        from sentencepiece import sentencepiece_model_pb2 as protobuf

        self.path, self.named = model, named
        self._model = _load_model(model)
        proto = protobuf.ModelProto.FromString(self._model.serialized_model_proto())
        self.shielded = shield_model(proto, _given(named), model)
        self.content = proto.SerializeToString() if self.shielded else self._model.serialized_model_proto()
        if self.shielded:
            self._model.LoadFromSerializedProto(self.content)
        self.name = f"sentencepiece {version('sentencepiece')}"
        self.vocab_size = self._model.vocab_size()
        self.control_strings = [self._model.id_to_piece(i) for i in range(self.vocab_size) if self._model.is_control(i)]
        self.user_strings = [piece.piece for piece in proto.pieces if piece.type == piece.USER_DEFINED]
        spec = proto.normalizer_spec
        self.charsmap = spec.precompiled_charsmap
        self.tied, self.tied_runs = tied_pieces(proto), tied_runs(proto)
        is_plain = not self.charsmap and not spec.remove_extra_whitespaces
        self.normalize: Normalize | None = None if is_plain else self._model.normalize
        self.at_once = 1
        self._threads = threads

    def frame_token(self, role: str) -> tuple[int, str] | None:
        """Return id and name of the BOS or EOS (`role`): the named one, else the model's own; None if it has none."""
        name = self.named[role]
        found = self._model.piece_to_id(name) if name else getattr(self._model, f"{role}_id")()
        return None if found in (-1, self._model.unk_id()) else (found, self._model.id_to_piece(found))

    def encode(self, texts: Texts) -> Encoded:
        """Return the ids of texts."""
        return _joined(self._model.encode([text.decode() for text in texts], num_threads=self._threads))

    def decode(self, ids: list[int]) -> str:
        """Return the text of some ids, control tokens left out."""
        return self._model.decode(ids)


class TokenizersReference:
    """Hugging Face tokenizers' own encoder, for a tokenizer.json.

    Attributes:
        path: of the file.
        named: by role, bos or eos, what the configuration calls the token; the file does not say which has which role.
        content: the tokenizer.json as it encodes.
        shielded: tokens that texts would otherwise be given by what they say.
        control_strings: of its control tokens.
        user_strings: of the tokens that are found in a text before all pieces, and are no control tokens.
        normalize: what it makes of a text first; None where that is nothing, but for spaces written as ▁.
        charsmap: table of the strings that its normalizer replaces (charsmap.py); empty where it has none.
    """

    def __init__(self, model: str, threads: int, named: Named) -> None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # its Rust library reads it once, when it first encodes

        self.path, self.named = model, named
        definition = read_json(model)
        self._model = _load_json(orjson.dumps(definition), model)
        shield = shield_json(definition, _given(named), model)
        self.content = orjson.dumps(shield.content)
        self._encoder = _load_json(self.content, model) if shield.renamed else self._model
        ids = self._model.get_vocab(with_added_tokens=True)
        check_apart(ids, shield, self._encoder, model)
        assert not shield.renamed or ids == {
            shield.renamed.get(token, token): number
            for token, number in self._encoder.get_vocab(with_added_tokens=True).items()
        }
        self.shielded = [token for token in shield.renamed.values() if self._is_found(token)]
        normalizers, pre_tokenizers = (steps(definition, step) for step in ("normalizer", "pre_tokenizer"))
        precompiled = [part["precompiled_charsmap"] for part in normalizers if part["type"] == "Precompiled"]
        self.charsmap = b64decode(precompiled[0]) if precompiled else b""
        normalizer = self._model.normalizer
        self.normalize = normalize_of(normalizers, normalizer and normalizer.normalize_str, pre_tokenizers)
        self.name = f"tokenizers {version('tokenizers')}"
        self.at_once = 1
        self.vocab_size = max(ids.values()) + 1
        self.control_strings, self.user_strings = shield.controls, shield.ordinary

    def frame_token(self, role: str) -> tuple[int, str] | None:
        """Return id and name of the BOS or EOS (`role`) that is named; None if there is none of that name."""
        name = self.named[role]
        found = self._model.token_to_id(name) if name else None
        return None if found is None or name is None else (found, name)

    def encode(self, texts: Texts) -> Encoded:
        """Return the ids of texts.

        Raises:
            ConfigError: the tokenizer cannot encode one.
        """
        return _joined(self._ids(self._encoder, [text.decode() for text in texts]))

    def decode(self, ids: list[int]) -> str:
        """Return the text of some ids, control tokens left out."""
        return self._model.decode(ids)

    def _ids(self, encoder: Any, texts: list[str]) -> list[list[int]]:
        try:
            with panics_raised():
                return [encoding.ids for encoding in encoder.encode_batch_fast(texts, add_special_tokens=False)]
        except Exception as error:  # what it raises is a bare Exception
            raise ConfigError(
                f"the tokenizer cannot encode a text: {error}",
                where=self.path,
                action="take a tokenizer without the normalizers or pre-tokenizers that tokenizers panics on"
                if isinstance(error, Panic)
                else "give its model an unknown token that is in its vocabulary, for what it does not know",
            ) from error

    def _is_found(self, token: str) -> bool:
        """Say whether texts that say a token's name have other ids where it is not shielded."""
        texts = [token, f" {token} ", f"a{token}b", f"a {token} b", f"{token}{token}", f"a\n{token}\n"]
        return self._ids(self._model, texts) != self._ids(self._encoder, texts)


Reference = SentencePieceReference | TokenizersReference


def load_reference(
    model: str | Path, threads: int = 1, bos_token: str | None = None, eos_token: str | None = None
) -> Reference:
    """Return the reference engine of a model file.

    Args:
        model: its path.
        threads: cores to encode with.
        bos_token, eos_token: what the configuration calls its BOS and EOS, where it does.

    Raises:
        ConfigError: it is no SentencePiece model and no tokenizer.json, or none whose ids are known to be right.
    """
    check_kind(model)
    kind = TokenizersReference if str(model).endswith(".json") else SentencePieceReference
    return kind(str(model), threads, {"bos": bos_token, "eos": eos_token})


def read_pieces(model: str | Path) -> dict[int, str]:
    """Return the pieces of a model file by id; nothing is encoded with it.

    Raises:
        ConfigError: it is no SentencePiece model and no tokenizer.json.
    """
    check_kind(model)
    if not str(model).endswith(".json"):
        processor = _load_model(str(model))
        return {number: processor.id_to_piece(number) for number in range(processor.vocab_size())}
    vocabulary = _load_json(Path(model).read_bytes(), model).get_vocab(with_added_tokens=True)
    return {number: piece for piece, number in vocabulary.items()}


def _given(named: Named) -> list[str]:
    return [token for token in named.values() if token]


def _load_model(model: str) -> Any:
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_file=model)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"no SentencePiece model: {error}", where=model, action=GIVE) from error


def _load_json(content: bytes, path: str | Path) -> Any:
    import tokenizers

    try:
        with panics_raised():
            loaded = tokenizers.Tokenizer.from_buffer(content)
    except Exception as error:  # what it raises is a bare Exception
        raise ConfigError(f"no tokenizer.json: {error}", where=path, action=GIVE) from error
    loaded.encode_special_tokens = True
    return loaded


class EngineFailed(Exception):
    """The fast engine gives no ids for some texts; `str()` says what it raised."""


class Gigatoken:
    """gigatoken's encoder, for either kind of model; its control tokens are removed, so that text stays text."""

    def __init__(self, reference: Reference, threads: int) -> None:
        """reference: that it encodes like; threads: that will encode at once."""
        import gigatoken
        from gigatoken._load.sentencepiece import sentencepiece_to_tokenizer_json

        self.name = f"gigatoken {version('gigatoken')}"
        is_json = isinstance(reference, TokenizersReference)
        definition = orjson.loads(reference.content if is_json else sentencepiece_to_tokenizer_json(reference.content))
        definition["added_tokens"] = [t for t in definition.get("added_tokens", []) if not t["special"]]
        with panics_raised():
            self._model = gigatoken.Tokenizer.from_json(orjson.dumps(definition))
        self.at_once = threads

    def encode(self, texts: Texts) -> Encoded:
        """Return the ids of texts.

        Raises:
            EngineFailed: it raises something on one.
        """
        if not len(texts):
            return _joined([])
        try:
            with panics_raised():
                layout = self._model.encode_batch(_as_awkward(texts), parallel=False).layout
        except Exception as error:
            raise EngineFailed(f"{self.name} fails: {error}") from error
        offsets = layout.offsets.data
        return layout.content.data[offsets[0] : offsets[-1]], np.diff(offsets)


def _joined(encoded: Iterable[list[int]]) -> Encoded:
    encoded = list(encoded)
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    ids = np.fromiter(chain.from_iterable(encoded), np.int32, int(lengths.sum()))
    return ids, lengths


def _as_awkward(texts: Texts) -> Any:
    import awkward

    characters = awkward.contents.NumpyArray(texts.data, parameters={"__array__": "char"})
    offsets = awkward.index.Index64(texts.offsets)
    return awkward.Array(awkward.contents.ListOffsetArray(offsets, characters, parameters={"__array__": "string"}))
