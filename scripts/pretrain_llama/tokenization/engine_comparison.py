"""Compare the ids that two engines give."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pretrain_llama.tokenization.engines import Encoded, EngineFailed, Gigatoken, Reference
from pretrain_llama.tokenization.texts import Texts


class Comparison:
    """The fast engine against the reference.

    Attributes:
        compared: number of texts so far.
    """

    def __init__(self, fast: Gigatoken, reference: Reference) -> None:
        self._fast, self._reference = fast, reference
        self.compared = 0

    def ids(self, text: str) -> tuple[list[int], list[int]]:
        """Return the ids of a text, of the fast engine and of the reference; none where the fast one fails."""
        texts = Texts.of([text.encode()])
        try:
            ours = self._fast.encode(texts)[0].tolist()
        except EngineFailed:
            ours = []
        return ours, self._reference.encode(texts)[0].tolist()

    def differing(self, texts: Sequence[str]) -> list[str]:
        """Return those texts whose ids differ, or that the fast engine fails on."""
        encoded = Texts.of(text.encode() for text in texts)
        with ThreadPoolExecutor(1) as meanwhile:
            expected = meanwhile.submit(self._reference.encode, encoded)
            try:
                ours = self._fast.encode(encoded)
            except EngineFailed:
                half = len(texts) // 2
                return self.differing(texts[:half]) + self.differing(texts[half:]) if half else list(texts)
            self.compared += len(texts)
            return [texts[number] for number in np.flatnonzero(unequal(ours, expected.result())).tolist()]


def unequal(ours: Encoded, theirs: Encoded) -> np.ndarray:
    """Say of each text, (texts,) bool, whether its ids differ."""
    (ids, lengths), (their_ids, their_lengths) = ours, theirs
    differ = lengths != their_lengths
    kept, their_kept = ids[np.repeat(~differ, lengths)], their_ids[np.repeat(~differ, their_lengths)]
    differ[np.repeat(np.flatnonzero(~differ), lengths[~differ])[kept != their_kept]] = True
    return differ
