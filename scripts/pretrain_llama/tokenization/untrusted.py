"""Search texts for what the fast engine is not trusted with: code points, alone or next to each other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow
from pyarrow import compute

from pretrain_llama.tokenization.ordinary import SENTENCES
from pretrain_llama.tokenization.texts import Texts

Range = tuple[int, int]  # code points, from the first to the last
ORDINARY = np.array(sorted(map(ord, "".join(SENTENCES))))
LOOKED_AT = 64  # every so many bytes, to see whether most texts are suspect
MANY = 0.02  # of those bytes: then a regular expression finds the suspect texts sooner
CODE_POINTS = 0x110000


def ranges_of(codes: Iterable[int]) -> tuple[Range, ...]:
    """Return sorted code points as ranges."""
    return merged((code, code) for code in codes)


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Return sorted ranges, with those that touch joined."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


@dataclass(frozen=True)
class Pattern:
    """Characters that may not follow one another: one of the first class, one of the second, and so on.

    Attributes:
        why: for a person.
        classes: each a set of characters, as ranges of code points.
    """

    why: str
    classes: tuple[tuple[Range, ...], ...]

    @classmethod
    def of_string(cls, why: str, string: str) -> "Pattern":
        """Return the pattern that one string alone matches."""
        return cls(why, tuple(((ord(character), ord(character)),) for character in string))

    @cached_property
    def regex(self) -> str:
        """The pattern as an RE2 expression."""
        return "".join(map(_one_of, self.classes))

    @cached_property
    def rarest(self) -> tuple[Range, ...]:
        """The class of which ordinary sentences have the fewest characters."""

        def common(ranges: tuple[Range, ...]) -> int:
            return int(np.diff(np.searchsorted(ORDINARY, [(first, last + 1) for first, last in ranges])).sum())

        return min(self.classes, key=common)

    def to_json(self) -> dict[str, Any]:
        """Return it as the certificate holds it."""
        return {"why": self.why, "sequence": [" ".join(f"{a:04X}-{b:04X}" for a, b in one) for one in self.classes]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Pattern":
        """Return what `to_json` gave."""
        classes = [[one.split("-") for one in ranges.split()] for ranges in value["sequence"]]
        return cls(value["why"], tuple(tuple((int(a, 16), int(b, 16)) for a, b in one) for one in classes))


class Untrusted:
    """Patterns, and the search for them.

    Most texts hold none, and are to lose no time. Each pattern has a class of characters that ordinary text has the
    fewest of. Where few bytes begin a character of these classes, those are decoded and looked up; otherwise a regular
    expression looks for them. Only texts that have one are searched for the patterns.
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.patterns = list(patterns)
        self._regex = "|".join(pattern.regex for pattern in patterns)
        rarest = merged(one for pattern in patterns for one in pattern.rarest)
        self._needles = _one_of(rarest) if any(len(pattern.classes) > 1 for pattern in patterns) else ""
        self._is_rare = np.zeros(CODE_POINTS, bool)
        self._is_lead = np.zeros(256, bool)
        for first, last in rarest:
            self._is_rare[first : last + 1] = True
            self._is_lead[_lead(first) : _lead(last) + 1] = True
        self._is_lead[0x80:0xC0] = False  # within a character
        self._gap = _longest_gap(self._is_lead)

    def are_in(self, texts: Texts) -> np.ndarray:
        """Say of each text, (texts,) bool, whether it holds anything of what is untrusted."""
        suspects = np.arange(len(texts) if self._regex else 0)
        data = texts.data[: texts.offsets[-1]]
        if len(data) and self._is_lead[data[::LOOKED_AT]].mean() <= MANY:
            suspects = np.flatnonzero(np.diff(np.searchsorted(self._of_rare(data), texts.offsets)))
        elif self._needles and len(suspects):
            suspects = suspects[_matching(texts, suspects, self._needles)]
        if len(suspects):
            suspects = suspects[_matching(texts, suspects, self._regex)]
        held = np.zeros(len(texts), bool)
        held[suspects] = True
        return held

    def without(self, texts: Sequence[str]) -> list[str]:
        """Return texts with all that is untrusted removed, repeatedly, until none is left."""
        rest = np.array(texts, object)
        changed = np.arange(len(rest) if self._regex else 0)
        while len(changed):
            before = pyarrow.array(rest[changed], pyarrow.large_string())
            after = compute.replace_substring_regex(before, self._regex, "")
            rest[changed] = after.to_numpy(zero_copy_only=False)
            changed = changed[compute.not_equal(before, after).to_numpy(zero_copy_only=False)]
        return rest.tolist()

    def _of_rare(self, data: np.ndarray) -> np.ndarray:
        """Return the positions in UTF-8, (bytes,) uint8, of the characters of the rarest classes."""
        first, last = self._gap
        positions = np.flatnonzero(data - np.uint8(first) > last - first)
        positions = positions[self._is_lead[data[positions]]]
        return positions[self._is_rare[_code_points(data, positions)]]


def _longest_gap(is_lead: np.ndarray) -> Range:
    """Return the first and the last of the most bytes in a row that begin no character looked for."""
    leads = np.flatnonzero(np.concatenate([[True], is_lead, [True]])) - 1
    longest = int(np.argmax(np.diff(leads)))
    return int(leads[longest]) + 1, int(leads[longest + 1]) - 1


def _code_points(data: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the code points that begin at some positions of UTF-8 (source: RFC 3629, section 3)."""
    codes = data[positions].astype(np.int64)
    for lead, following in ((0xC0, 1), (0xE0, 2), (0xF0, 3)):
        longer = np.flatnonzero(data[positions] >= lead)
        codes[longer] = data[positions[longer]] & (0x3F >> following)
        for offset in range(1, following + 1):
            codes[longer] = codes[longer] << 6 | data[positions[longer] + offset] & 0x3F
    return codes


def _matching(texts: Texts, numbers: np.ndarray, regex: str) -> np.ndarray:
    """Say of some texts, given by number, whether a regular expression matches within."""
    buffers = [None, pyarrow.py_buffer(texts.offsets), pyarrow.py_buffer(texts.data)]
    array = pyarrow.Array.from_buffers(pyarrow.large_string(), len(texts), buffers)
    if len(numbers) < len(texts):
        array = array.take(pyarrow.array(numbers))
    return compute.match_substring_regex(array, regex).to_numpy(zero_copy_only=False)


def _one_of(ranges: Sequence[Range]) -> str:
    return "[" + "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in ranges) + "]"


def _lead(code: int) -> int:
    """Return the first byte of a code point in UTF-8 (source: RFC 3629, section 3)."""
    if code < 0x80:
        return code
    return 0xC0 | code >> 6 if code < 0x800 else 0xE0 | code >> 12 if code < 0x10000 else 0xF0 | code >> 18
