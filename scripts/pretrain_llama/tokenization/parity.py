"""The gate before the fast engine: its ids must be the reference's, on texts that are known to part engines, and on
a sample of the very texts that are tokenized.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np

from pretrain_llama.tokenization.engines import Encoded, Gigatoken, Reference
from pretrain_llama.tokenization.texts import Texts

SAMPLED_TEXTS = 16
SAMPLE_BYTES = 1 << 11
# Where engines were seen to differ, or where their authors' issues say that they do.
PROBES = [
    "a  b   c",
    "  leading, and trailing  ",
    "\ttabs\t\tand\u00a0no-break\u3000spaces \u2028",
    "line\nfeeds\r\n\r\n\n\n",
    "NUL \0 and \x07 control \x1b[0m characters \x7f",
    "<unk> <pad> <0x0A> ▁ ▁▁ <|endoftext|> [INST]",
    "السَّلَامُ عَلَيْكُمْ وَرَحْمَةُ اللهِ، ٱلْحَمْدُ لِلَّٰهِ ـــ ١٢٣ ؟",
    "emoji 🦙 👩‍👩‍👧‍👦 🇸🇦 👍🏽 and ﷺ",
    "é e\u0301 ﬁ Ⅳ ｆｕｌｌ \ufeff \u200b\u200f \ufffd",
    "日本語 ไทย हिन्दी 한국어",
    "123456789 3.14159 1e-05 0xDEADBEEF",
    "don't I'LL we've",
    "x" * 5_000,
    " " * 5_000,
    "A line of a megabyte: السطر الطويل, again and again;  " * 15_000,
]


class EnginesDiffer(Exception):
    """The fast engine does not give the reference's ids; `str()` says where."""


class GatedEngine:
    """gigatoken, held against the reference: on the probes at first, then on a sample of every batch.

    Attributes:
        name, at_once: of the fast engine.
        normalize: of the reference.
        compared: documents of the shard that both encoded, to the same ids.
    """

    def __init__(self, reference: Reference, model: str, threads: int) -> None:
        """Load the fast engine for the reference's model file, and let it through the gate.

        Raises:
            EnginesDiffer: it cannot load the model, or a probe's ids differ.
        """
        self._reference = reference
        probes = _probes(reference)
        with ThreadPoolExecutor(1) as meanwhile:
            expected = meanwhile.submit(reference.encode, probes)
            try:
                self._fast = Gigatoken(model, threads)
            except Exception as error:  # whatever a model that it does not know makes it raise
                raise EnginesDiffer(f"gigatoken cannot load the model: {error}") from error
            encoded = self._fast.encode(probes)
            self._compare(probes, encoded, range(len(probes)), expected.result())
        self.name, self.at_once = self._fast.name, self._fast.at_once
        self.normalize = reference.normalize
        self.compared = 0
        self._counting = Lock()

    def encode(self, texts: Texts) -> Encoded:
        """Return the ids of texts.

        Raises:
            EnginesDiffer: the ids of a sampled text differ.
        """
        encoded = self._fast.encode(texts)
        sampled = sample(texts)
        self._compare(texts, encoded, sampled, self._reference.encode(Texts.of(texts[number] for number in sampled)))
        with self._counting:
            self.compared += len(sampled)
        return encoded

    def _compare(self, texts: Texts, encoded: Encoded, numbers: Sequence[int], expected: Encoded) -> None:
        """Hold the ids of some texts, given by number, against the reference's of these texts alone."""
        ids, lengths = encoded
        ends = np.cumsum(lengths)
        expected_ends = np.cumsum(expected[1])
        for number, length, end in zip(numbers, expected[1], expected_ends, strict=True):
            theirs = expected[0][end - length : end]
            ours = ids[ends[number] - lengths[number] : ends[number]]
            if not np.array_equal(ours, theirs):
                common = min(len(ours), len(theirs))
                unequal = np.flatnonzero(ours[:common] != theirs[:common])
                at = int(unequal[0]) if len(unequal) else common
                raise EnginesDiffer(
                    f"{self._fast.name} and {self._reference.name} differ from token {at} of {texts[number][:80]!r}: "
                    f"{ours[at : at + 5].tolist()} against {theirs[at : at + 5].tolist()}"
                )


def _probes(reference: Reference) -> Texts:
    """Return the texts for the beginning: PROBES, and the tokenizer's own strings, with and without spaces around."""
    control = "a document that names " + " and ".join(reference.control_strings) + " goes on"
    around = [f"a{string}b {string}c d{string} {string} e  {string}" for string in reference.user_strings]
    return Texts.of(probe.encode() for probe in [*PROBES, control, *reference.control_strings, *around])


def sample(texts: Texts) -> list[int]:
    """Return the numbers of some texts: the shorter of 16 that are evenly spread, of together at most 2 KiB, or one.

    They cost the reference half a millisecond, where a block of 4 MiB takes the fast engine thirty.
    """
    lengths = np.diff(texts.offsets)
    spread = np.arange(0, len(texts), max(1, len(texts) // SAMPLED_TEXTS))
    by_length = spread[np.argsort(lengths[spread], kind="stable")]
    count = np.searchsorted(np.cumsum(lengths[by_length]), SAMPLE_BYTES, side="right")
    return by_length[: max(1, count)].tolist()
