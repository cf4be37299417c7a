"""Delta debugging: find the smallest strings within texts that still show a difference.

Source of the algorithm: A. Zeller and R. Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002, ddmin.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

# Of what is tried for one text at a time: what does not get smaller before is left as it is.
MOST_CHARACTERS = 1 << 22


@dataclass
class Shrinking:
    """A text that is being shrunk: cut into parts, each of which may be left out."""

    text: str
    parts: int = 2

    @property
    def part(self) -> int:
        """Number of characters in a part."""
        return -(-len(self.text) // self.parts)

    def candidates(self) -> list[str]:
        """Return the text without each of its parts; nothing where it is done."""
        if len(self.text) < 2 or len(self.text) * self.parts > MOST_CHARACTERS:
            return []
        starts = range(0, len(self.text), self.part)
        return [self.text[:start] + self.text[start + self.part :] for start in starts]

    def go_on(self, smaller: str | None) -> bool:
        """Go on with a smaller text, or with smaller parts; say whether there is any."""
        if smaller is not None:
            self.text, self.parts = smaller, max(self.parts - 1, 2)
        elif self.part > 1:
            self.parts = min(2 * self.parts, len(self.text))
        else:
            return False
        return len(self.text) > 1


def smallest(texts: Iterable[str], showing: Callable[[Sequence[str]], Iterable[str]]) -> list[str]:
    """Return for each text one within it that shows the same, and no longer does without any one character.

    Args:
        texts: that show something.
        showing: says which of some texts do; all texts go on together, so that it is asked a few times for many.
    """
    shrinking = [Shrinking(text) for text in texts]
    active = shrinking
    while active:
        candidates = [one.candidates() for one in active]
        shown = set(showing(list(dict.fromkeys(text for some in candidates for text in some))))
        found = [next((text for text in some if text in shown), None) for some in candidates]
        active = [one for one, some, text in zip(active, candidates, found, strict=True) if some and one.go_on(text)]
    return [one.text for one in shrinking]
