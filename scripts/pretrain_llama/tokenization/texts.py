"""UTF-8 texts in one buffer with offsets, as columnar formats keep them: no Python object for each document."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Texts:
    """UTF-8 texts, one after the other.

    Attributes:
        data: (bytes of all,) uint8.
        offsets: (texts + 1,) int64, where each begins in data, and where the last ends.
    """

    data: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[bytes]) -> "Texts":
        """Return texts that are given one by one."""
        texts = list(texts)
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        return cls(np.frombuffer(b"".join(texts), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> bytes:
        return self.data[self.offsets[number] : self.offsets[number + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(len(self)))

    def chosen(self, which: np.ndarray) -> "Texts":
        """Return some of them; which: (texts,) bool."""
        lengths = self.lengths
        offsets = np.concatenate([[0], np.cumsum(lengths[which])])
        first = self.offsets[0]
        return Texts(self.data[first : self.offsets[-1]][np.repeat(which, lengths)], offsets)

    def followed_by(self, others: "Texts") -> "Texts":
        """Return these texts, and then others."""
        data = np.concatenate([self.data[: self.offsets[-1]], others.data])
        return Texts(data, np.concatenate([self.offsets, self.offsets[-1] + others.offsets[1:]]))

    @property
    def lengths(self) -> np.ndarray:
        """(texts,) int64, bytes in each."""
        return np.diff(self.offsets)
