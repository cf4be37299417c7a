"""Find SentencePiece pieces with equal scores: which of two merges comes first then depends on the text.

Of the joins that score highest, SentencePiece takes the leftmost (source: bpe_model.cc, SymbolPairComparator). A list
of merges, as gigatoken and a tokenizer.json have it, has an order of its own, whatever the text. So the two differ
wherever such pieces overlap, and no list of characters or strings can say where. Models with pieces that people added
by hand are often so: all new ones score 0.

Runs of one character are the exception: Llama 2's pieces of white space all have one score, the lowest. Such pieces are
joined last, when nothing else can be, so that what is joined depends on the length of the run alone, and the corpus
has runs of every length, up to where both ways repeat themselves.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

BPE = 2  # TrainerSpec.model_type
_NORMAL = 1
_JOINED = (_NORMAL, 5)  # SentencePiece.type: unused ones, too, which are joined before they are taken apart


def tied_pieces(proto: Any) -> list[str]:
    """Return the first pieces of a model, a ModelProto, whose order the text decides; empty if there are none."""
    joined = _joined(proto)
    groups = (group for group in _tied(joined) if not _are_runs(group, joined))
    return next(([piece.piece for piece in group] for group in groups), [])


def tied_runs(proto: Any) -> list[str]:
    """Return the longest piece of each group that has one score and is made of runs of one character."""
    joined = _joined(proto)
    return [max((piece.piece for piece in group), key=len) for group in _tied(joined) if _are_runs(group, joined)]


def _joined(proto: Any) -> list[Any]:
    if proto.trainer_spec.model_type != BPE:
        return []
    return [piece for piece in proto.pieces if piece.type in _JOINED and len(piece.piece) > 1]


def _tied(joined: list[Any]) -> Iterator[list[Any]]:
    by_score = defaultdict(list)
    for piece in joined:
        by_score[piece.score].append(piece)
    return (group for group in by_score.values() if len(group) > 1)


def _are_runs(group: list[Any], joined: list[Any]) -> bool:
    """Say whether pieces are runs of one character that all others with this character are joined before.

    No other piece may have the character twice in a row: it could be joined of what these make.
    """
    character = group[0].piece[0]
    if any(piece.piece.strip(character) or piece.type != _NORMAL for piece in group):
        return False
    others = [piece for piece in joined if character in piece.piece and piece.score != group[0].score]
    return all(piece.score > group[0].score and 2 * character not in piece.piece for piece in others)
