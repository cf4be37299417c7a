"""Train or read new pieces, and choose those that an encoder can really produce."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentencepiece import SentencePieceTrainer
from sentencepiece import sentencepiece_model_pb2 as protobuf

from pretrain_llama.errors import ConfigError, DataError, listed
from pretrain_llama.files import replacing
from pretrain_llama.vocabulary.model import NORMAL, encoder, enlarged, load_model, piece_encoder, surface

THREADS = os.cpu_count() or 1
LONGEST_LINE_BYTES = 1 << 20  # SentencePiece leaves out longer ones
# What a trainer has to do as the base's did, so that its pieces are joined from the same parts.
_SAME_TRAINING = (
    "character_coverage",
    "max_sentencepiece_length",
    "split_by_unicode_script",
    "split_by_number",
    "split_by_whitespace",
    "split_digits",
    "treat_whitespace_as_suffix",
    "allow_whitespace_only_pieces",
    "byte_fallback",
)
_SAME_NORMALIZER = ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces")
_RULES = ("identity", "nfkc", "nfkc_cf", "nmt_nfkc", "nmt_nfkc_cf")


def train_candidates(base: protobuf.ModelProto, texts: Iterable[str], count: int) -> list[str]:
    """Return pieces that texts suggest and a base lacks: characters, then merges, the most frequent first.

    Args:
        base: the model to enlarge.
        texts: to train on.
        count: pieces that will be chosen; about twice as many are suggested, if the texts hold them.
    """
    lines = [line for text in texts for line in text.split("\n") if line.strip()]
    known = {piece.piece for piece in base.pieces}
    size = 10_000 + 2 * count
    while True:
        trained = _train(base, lines, size)
        new = [piece.piece for piece in trained.pieces if piece.type == NORMAL and piece.piece not in known]
        if len(new) >= 2 * count or len(trained.pieces) < size:
            return sorted(new, key=lambda piece: len(piece) > 1)  # a stable sort: joins stay in their order
        size *= 2


def _train(base: protobuf.ModelProto, lines: list[str], size: int) -> protobuf.ModelProto:
    rule = base.normalizer_spec.name
    trained = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=trained,
        model_type="bpe",
        vocab_size=size,
        hard_vocab_limit=False,
        normalization_rule_name=rule if rule in _RULES else "identity",
        max_sentence_length=LONGEST_LINE_BYTES,
        num_threads=THREADS,
        minloglevel=1,
        **{key: getattr(base.trainer_spec, key) for key in _SAME_TRAINING},
        **{key: getattr(base.normalizer_spec, key) for key in _SAME_NORMALIZER},
    )
    return protobuf.ModelProto.FromString(trained.getvalue())


def choose(base: protobuf.ModelProto, candidates: Sequence[str], count: int, unchanged: Sequence[str]) -> list[str]:
    """Return the first candidates that an encoder can produce and that some texts do not use.

    A piece comes about where its parts are joined in an order that the other pieces allow; leaving one out may take a
    part of another, so the choice is repeated until it stands.

    Args:
        base: the model to enlarge.
        candidates: pieces that it has not, in the order of choice.
        count: of the pieces to choose.
        unchanged: texts that must encode as before.

    Raises:
        DataError: the texts do not yield so many.
    """
    candidates = list(candidates)
    while True:
        chosen = candidates[:count]
        if len(chosen) < count:
            raise DataError(
                f"the texts yield {len(chosen)} new pieces, {count} are wanted",
                where="expansions in config.yaml",
                action="lower new_pieces, or give more text: sample_bytes_per_corpus, languages",
            )
        model = enlarged(base, chosen)
        unwanted = {*unreachable(model, chosen), *_used(model, len(base.pieces), unchanged)}
        if not unwanted:
            return chosen
        candidates = [piece for piece in candidates if piece not in unwanted]


def unreachable(model: protobuf.ModelProto, pieces: Iterable[str]) -> list[str]:
    """Return the pieces that a model never encodes to, even where a text is nothing else.

    Nor does it where the normalizer leaves them of no text: two ▁ in a row, where it removes spaces behind spaces.
    """
    within, whole = piece_encoder(model), encoder(model)

    def comes_about(piece: str) -> bool:
        text = surface(piece)
        return within.encode(text, out_type=str) == [piece] and any(
            piece in whole.normalize(around) for around in (text, f"a{text}a")
        )

    return [piece for piece in pieces if not comes_about(piece)]


def encode_alone(model: protobuf.ModelProto, pieces: Iterable[str]) -> list[list[int]]:
    """Return the ids that a model encodes each of some pieces to, as they stand within a text."""
    return piece_encoder(model).encode([surface(piece) for piece in pieces])


def _used(model: protobuf.ModelProto, first: int, texts: Sequence[str]) -> set[str]:
    """Return the pieces from an id on that texts encode to."""
    ids = {number for encoded in encoder(model).encode(list(texts), num_threads=THREADS) for number in encoded}
    return {model.pieces[number].piece for number in ids if number >= first}


@dataclass(frozen=True)
class PieceList:
    """Pieces that a file gives, a line each: the new ones, and what became of all lines.

    Attributes:
        new: pieces that the tokenizer has not, in their order.
        lines: of the file; new ones, `known` to the tokenizer, `repeated`, or `blank`: nothing, or spaces alone.
    """

    new: list[str]
    lines: int
    known: int
    repeated: int
    blank: int

    @property
    def counts(self) -> dict[str, int]:
        """What became of the lines."""
        told = {"lines": self.lines, "new": len(self.new)}
        return told | {"known": self.known, "repeated": self.repeated, "blank": self.blank}


def read_list(path: str | Path, base: protobuf.ModelProto) -> PieceList:
    """Read a list of pieces. A line ends with a newline, and nothing else; spaces in it may stand for ▁.

    Raises:
        ConfigError: there is no such file, or no new piece in it.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"no list of pieces: {error}", where=path, action="write a piece a line, in UTF-8, ▁ for a space"
        ) from error
    if text.count("\r\n") == text.count("\n"):  # as Windows ends lines; else a carriage return is a character
        text = text.replace("\r\n", "\n")
    lines = text.removesuffix("\n").split("\n")
    filled = [line.replace(" ", "▁") for line in lines if line.strip(" ")]
    given, known = dict.fromkeys(filled), {piece.piece for piece in base.pieces}
    if not given:
        raise ConfigError("the list of pieces is empty", where=path, action="write a piece a line, ▁ for a space")
    new = [piece for piece in given if piece not in known]
    if not new:
        raise ConfigError("the tokenizer has all of these pieces", where=path, action="give new ones")
    return PieceList(new, len(lines), len(given) - len(new), len(filled) - len(given), len(lines) - len(filled))


def read_pieces(path: str | Path, base: protobuf.ModelProto) -> list[str]:
    """Return the new pieces of a list; raises as `read_list` does."""
    return read_list(path, base).new


COLUMNS = ("id", "piece", "before")


def write_pieces(path: str | Path, base: protobuf.ModelProto, pieces: Sequence[str]) -> None:
    """Write a table (TSV) of new pieces: the id of each, and the ids that the base encodes it to.

    Raises:
        ConfigError: the base encodes one to nothing, so no old row says what the new one may begin with.
    """
    first, compositions = len(base.pieces), encode_alone(base, pieces)
    deleted = [piece for piece, ids in zip(pieces, compositions, strict=True) if not ids]
    if deleted:
        raise ConfigError(
            f"the tokenizer deletes {len(deleted)} of the new pieces before it encodes: "
            + listed([ascii(piece) for piece in deleted]),
            where="the new pieces",
            action="leave them out of the list",
        )
    with replacing(path, "w") as file:
        # A carriage return is a character, too, and csv puts it in quotes only where every text is.
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS)
        for number, (piece, ids) in enumerate(zip(pieces, compositions, strict=True)):
            writer.writerow([first + number, piece, " ".join(map(str, ids))])


def read_compositions(path: str | Path) -> dict[int, list[int]]:
    """Return what `write_pieces` wrote: by the id of each new piece, the ids that it was encoded to before.

    Raises:
        ConfigError: the file is none that it wrote.
    """
    return {number: before for number, _, before in _read_table(path)}


def check_tokenizer(path: str | Path, tokenizer: str | Path) -> None:
    """Raise ConfigError unless a tokenizer has the new pieces of a table, at their ids, and no others above."""
    rows, model = _read_table(path), load_model(tokenizer)
    last = rows[-1][0]
    if len(model.pieces) != last + 1:
        problem = f"the tokenizer has {len(model.pieces):,} ids, the new pieces make them {last + 1:,}"
    else:
        other = [
            f"{number} is {model.pieces[number].piece}"
            for number, piece, _ in rows
            if model.pieces[number].piece != piece
        ]
        if not other:
            return
        problem = f"{len(other):,} ids of the tokenizer are no new pieces of the table: {listed(other)}"
    raise ConfigError(
        problem, where=f"{tokenizer} and {path}", action="give the two that one run of expand_vocabulary.py wrote"
    )


def _read_table(path: str | Path) -> list[tuple[int, str, list[int]]]:
    """Return id, piece and old ids of each row."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            found = [
                (int(row["id"]), row["piece"], [int(number) for number in row["before"].split()])
                for row in csv.DictReader(file, delimiter="\t")
            ]
        first = found[0][0]
        is_whole = [number for number, _, _ in found] == list(range(first, first + len(found)))
        is_known = all(before and 0 <= min(before) <= max(before) < first for _, _, before in found)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        is_whole = is_known = False
    if not (is_whole and is_known):
        raise ConfigError(
            "no table of new pieces: ids in a row, each with the old ids that it was encoded to",
            where=path,
            action="give the pieces.tsv that expand_vocabulary.py wrote",
        )
    return found
