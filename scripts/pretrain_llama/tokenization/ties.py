"""Find SentencePiece pieces with equal scores: which of two merges comes first then depends on the text.

Of the joins that score highest, SentencePiece takes the leftmost (source: bpe_model.cc, SymbolPairComparator). A list
of merges, as gigatoken and a tokenizer.json have it, has an order of its own, whatever the text. So the two differ
wherever such pieces overlap, and no list of characters or strings can say where. Models with pieces that people added
by hand are often so: all new ones score 0.
"""

from collections import defaultdict
from typing import Any

BPE = 2  # TrainerSpec.model_type
_JOINED = (1, 5)  # SentencePiece.type: normal ones, and unused ones, which are joined before they are taken apart


def tied_pieces(proto: Any) -> list[str]:
    """Return the first pieces of a model, a ModelProto, that are joined and have one score; empty if there are none."""
    if proto.trainer_spec.model_type != BPE:
        return []
    by_score = defaultdict(list)
    for piece in proto.pieces:
        if piece.type in _JOINED and len(piece.piece) > 1:
            by_score[piece.score].append(piece.piece)
    return next((pieces for pieces in by_score.values() if len(pieces) > 1), [])
