"""Encode with the fast engine where its certificate allows, else with the reference; both encode a sample, as a net."""

from threading import Lock

import numpy as np

from pretrain_llama.tokenization.certificate import Certificate
from pretrain_llama.tokenization.engine_comparison import unequal
from pretrain_llama.tokenization.engines import Encoded, EngineFailed, Gigatoken, Reference
from pretrain_llama.tokenization.texts import Texts

# Of a block of 4 MiB: 3 KiB cost the slower reference, tokenizers, a millisecond, and such a block fifty (measured).
WINDOWS = 6  # of each way to choose them
WINDOW_BYTES = 256
LOOKED_AT = 16  # every so many bytes, for the scripts of a block
CONTINUATION, LEAD = 0x80, 0xC0  # in UTF-8: 0b10… is within a character, 0b11… begins one of several bytes


class EnginesDiffer(Exception):
    """The fast engine does not give the reference's ids; `str()` says where."""


class CertifiedEngine:
    """gigatoken for documents without what its certificate calls untrusted, the reference for the others.

    Attributes:
        name, at_once: of the fast engine.
        normalize: of the reference.
        compared: documents of which both encoded the whole, or a part, to the same ids.
        by_reference: documents that the reference encoded.
    """

    def __init__(self, reference: Reference, certificate: Certificate, threads: int) -> None:
        """certificate: of the reference's tokenizer, which does not say that the reference has to encode alone."""
        self._reference, self._untrusted = reference, certificate.patterns
        self._fast = Gigatoken(reference, threads)
        self.name, self.at_once = self._fast.name, self._fast.at_once
        self.normalize = reference.normalize
        self.compared = self.by_reference = 0
        self._counting = Lock()

    def encode(self, texts: Texts) -> Encoded:
        """Return the ids of texts.

        Raises:
            EnginesDiffer: the ids of a sampled text differ, or the fast engine fails.
        """
        untrusted = self._untrusted.are_in(texts)
        if not untrusted.any():
            return self._encode_trusted(texts)
        with self._counting:
            self.by_reference += int(untrusted.sum())
        slow = self._reference.encode(texts.chosen(untrusted))
        return interleaved(untrusted, slow, self._encode_trusted(texts.chosen(~untrusted)))

    def _encode_trusted(self, texts: Texts) -> Encoded:
        """Encode by the fast engine; windows of some texts are encoded beside them, and held against the reference."""
        windows, sampled = sample(texts)
        try:
            ids, lengths = self._fast.encode(texts.followed_by(windows))
        except EngineFailed as error:
            raise EnginesDiffer(str(error)) from error
        tokens = int(lengths[: len(texts)].sum())
        differ = np.flatnonzero(unequal((ids[tokens:], lengths[len(texts) :]), self._reference.encode(windows)))
        if len(differ):
            window, number = windows[differ[0]].decode(), sampled[differ[0]]
            raise EnginesDiffer(
                f"{self.name} and {self._reference.name} differ on {window!r}, in the document that begins "
                f"{texts[number][:WINDOW_BYTES].decode(errors='ignore')!r}"
            )
        with self._counting:
            self.compared += len(set(sampled))
        return ids[:tokens], lengths[: len(texts)]


def interleaved(chosen: np.ndarray, of_chosen: Encoded, of_others: Encoded) -> Encoded:
    """Return the ids of texts in their order; chosen: (texts,) bool, which of the two has a text's."""
    lengths = np.empty(len(chosen), np.int64)
    lengths[chosen], lengths[~chosen] = of_chosen[1], of_others[1]
    ids = np.empty(lengths.sum(), np.int64)
    are_of_chosen = np.repeat(chosen, lengths)
    ids[are_of_chosen], ids[~are_of_chosen] = of_chosen[0], of_others[0]
    return ids, lengths


def sample(texts: Texts) -> tuple[Texts, list[int]]:
    """Return windows of some texts, of at most 256 bytes, and the numbers of the texts.

    One half are of texts of all lengths, evenly spread from the shortest to the longest; the other half begin at
    characters of other scripts than Latin, by the first bytes of the characters, those that are rare as well as any.
    """
    if not len(texts):
        return texts, []
    data = texts.data[: texts.offsets[-1]]
    draw = np.random.default_rng(len(data))
    by_length = np.argsort(texts.lengths, kind="stable")
    spread = by_length[np.linspace(0, len(texts) - 1, WINDOWS).astype(int)]
    within = texts.offsets[spread] + (draw.random(WINDOWS) * texts.lengths[spread]).astype(np.int64)
    positions = [*within.tolist(), *draw.permutation(_of_each_lead(data, int(draw.integers(LOOKED_AT))))[:WINDOWS]]
    numbers = np.searchsorted(texts.offsets, positions, side="right") - 1
    windows = [_window(texts, int(number), int(position)) for number, position in zip(numbers, positions, strict=True)]
    return Texts.of(windows), numbers.tolist()


def _of_each_lead(data: np.ndarray, first: int) -> np.ndarray:
    """Return a position of each byte that begins a character of several; looks at every 16th byte, from the first."""
    position_of = np.full(256, -1)
    looked_at = data[first::LOOKED_AT]
    position_of[looked_at] = np.arange(first, len(data), LOOKED_AT)
    positions = position_of[LEAD:]
    return positions[positions >= 0]


def _window(texts: Texts, number: int, position: int) -> bytes:
    """Return a text from a position on, or its end where it ends sooner; whole characters, at least one."""
    start, end = int(texts.offsets[number]), int(texts.offsets[number + 1])
    begin = max(start, min(position, end - WINDOW_BYTES))
    while begin > start and texts.data[begin] & LEAD == CONTINUATION:
        begin -= 1
    return texts.data[begin : min(end, begin + WINDOW_BYTES)].tobytes().decode(errors="ignore").encode()
