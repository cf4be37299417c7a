"""Read, enlarge and use SentencePiece models of kind BPE.

An encoder repeatedly joins the two neighbours whose joint piece has the highest score. New pieces score below all old
ones. So it first makes the old joins, in the old order, down to the old encoding; only then may two neighbours join to
a new piece. It follows:

- A text encodes as before if none of its characters is a new piece, and no two neighbours of its old encoding join to
  one; every other text does not, for a first new join makes it shorter. User-defined symbols join with nothing. Unused
  pieces count as they were joined, before they are taken apart.
- A text may encode otherwise without a new piece in the end, if a new piece was joined on to an old one which the old
  order of joins never reached.

Characters without a piece count as themselves here, although they are written as bytes in the end.
"""

from collections.abc import Sequence
from pathlib import Path

from google.protobuf.message import DecodeError
from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as protobuf

from pretrain_llama.errors import ConfigError
from pretrain_llama.tokenization.model_files import check_kind

NORMAL = protobuf.ModelProto.SentencePiece.NORMAL
SPACE = "▁"  # as it stands in pieces


def load_model(path: str | Path) -> protobuf.ModelProto:
    """Return a SentencePiece model.

    Raises:
        ConfigError: it is none, or not of kind BPE.
    """
    check_kind(path)
    model = protobuf.ModelProto()
    try:
        model.ParseFromString(Path(path).read_bytes())
    except (OSError, DecodeError) as error:
        raise ConfigError(f"no SentencePiece model: {error}", where=path, action="expand a tokenizer.model") from error
    if not model.pieces:
        raise ConfigError("no SentencePiece model: it has no pieces", where=path, action="expand a tokenizer.model")
    if model.trainer_spec.model_type != protobuf.TrainerSpec.BPE:
        raise ConfigError(
            "the SentencePiece model is not of kind BPE, so new pieces would change what old text encodes to",
            where=path,
            action="expand a BPE model, such as Llama-2's",
        )
    return model


def enlarged(base: protobuf.ModelProto, pieces: Sequence[str]) -> protobuf.ModelProto:
    """Return a model with new pieces behind its own, whose ids stay; the first new one scores highest."""
    model = protobuf.ModelProto()
    model.CopyFrom(base)
    model.DiscardUnknownFields()  # such as samples of what it encoded texts to, which it checks when it is loaded
    lowest = min(piece.score for piece in base.pieces)
    for number, piece in enumerate(pieces, start=1):
        model.pieces.add(piece=piece, score=lowest - number, type=NORMAL)
    model.trainer_spec.vocab_size = len(model.pieces)
    return model


def encoder(model: protobuf.ModelProto) -> SentencePieceProcessor:
    """Return a function that encodes texts with a model."""
    return SentencePieceProcessor(model_proto=model.SerializeToString())


def piece_encoder(model: protobuf.ModelProto) -> SentencePieceProcessor:
    """Return a function that encodes pieces as within a text: without the space that begins one."""
    bare = protobuf.ModelProto()
    bare.CopyFrom(model)
    bare.normalizer_spec.add_dummy_prefix = bare.normalizer_spec.remove_extra_whitespaces = False
    return encoder(bare)


def surface(piece: str) -> str:
    """Return the text that a piece stands for."""
    return piece.replace(SPACE, " ")
