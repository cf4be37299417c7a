"""The gate before the fast engine: its ids must be the reference's, on texts that are known to part engines, and on
a sample of the very texts that are tokenized.
"""

import numpy as np

from pretrain_llama.tokenization.engines import Encoded, Gigatoken, Reference

SAMPLE_BYTES = 1 << 14
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
        name: of the fast engine, with its version.
        compared: documents of the shard that both encoded, to the same ids.
    """

    def __init__(self, reference: Reference, model: str, threads: int) -> None:
        """Load the fast engine for the reference's model file, and let it through the gate.

        Raises:
            EnginesDiffer: it cannot load the model, or a probe's ids differ.
        """
        try:
            self._fast = Gigatoken(model, threads)
        except Exception as error:  # whatever a model that it does not know makes it raise
            raise EnginesDiffer(f"gigatoken cannot load the model: {error}") from error
        self._reference = reference
        self.name = self._fast.name
        self.compared = 0
        control = "a document that names " + " and ".join(reference.control_strings) + " goes on"
        self._compare([probe.encode() for probe in [*PROBES, control, *reference.control_strings]])

    def encode(self, texts: list[bytes]) -> Encoded:
        """Return the ids of UTF-8 texts.

        Raises:
            EnginesDiffer: the ids of a sampled text differ.
        """
        sampled = sample(texts)
        self._compare(sampled)
        self.compared += len(sampled)
        return self._fast.encode(texts)

    def _compare(self, texts: list[bytes]) -> None:
        for (text, ours), (_, theirs) in zip(
            _split(texts, self._fast.encode(texts)), _split(texts, self._reference.encode(texts)), strict=True
        ):
            if not np.array_equal(ours, theirs):
                common = min(len(ours), len(theirs))
                unequal = np.flatnonzero(ours[:common] != theirs[:common])
                at = int(unequal[0]) if len(unequal) else common
                raise EnginesDiffer(
                    f"{self._fast.name} and {self._reference.name} differ from token {at} of {text[:80]!r}: "
                    f"{ours[at : at + 5].tolist()} against {theirs[at : at + 5].tolist()}"
                )


def sample(texts: list[bytes]) -> list[bytes]:
    """Return some texts, evenly spread, of together at most 16 KiB, which cost the reference a few milliseconds."""
    chosen: list[bytes] = []
    left = SAMPLE_BYTES
    for text in texts[:: max(1, len(texts) // 16)]:
        if len(text) <= left:
            chosen.append(text)
            left -= len(text)
    return chosen


def _split(texts: list[bytes], encoded: Encoded) -> list[tuple[bytes, np.ndarray]]:
    ids, lengths = encoded
    ends = np.cumsum(lengths)
    return [(text, ids[end - length : end]) for text, length, end in zip(texts, lengths, ends, strict=True)]
