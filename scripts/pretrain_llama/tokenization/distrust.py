"""Generalize from strings that two engines encode differently to all that the fast one is not trusted with.

What was seen stands for its kind, so that no other string of the kind can differ unseen:

- One character that differs alone, or beside ASCII: this character. All characters are tried.
- A character before a mark: it may not stand before any joiner (see alphabets.py); one behind a mark, not behind any.
  All characters are tried before and behind some marks; which mark it is says nothing, as long as it joins. Of two
  marks, the one that ordinary text has less of counts as the character.
- What the normalizer replaces, of several characters: a first character of such strings may not stand before a second
  one. A text without any such neighbours holds none of these strings.
- A string of an added token: all added tokens of its kind, that is, control tokens, or others.
- Anything else: each of its characters that is not ASCII; where all are, the string as it is.
"""

from itertools import pairwise

from pretrain_llama.tokenization import charsmap
from pretrain_llama.tokenization.alphabets import BEYOND, joiners, unassigned
from pretrain_llama.tokenization.corpus import MARKS, looks_around
from pretrain_llama.tokenization.engines import Reference
from pretrain_llama.tokenization.ordinary import SENTENCES
from pretrain_llama.tokenization.untrusted import Pattern, Untrusted, ranges_of

ORDINARY = "".join(SENTENCES)
NOT_COMPARED = "not compared"
UNASSIGNED = "no characters yet"
DIFFER = "differ"
BESIDE_MARKS = "differ beside marks"
REPLACED = "begin what the normalizer replaces as one"
TOKEN = "string of an added token"
STRING = "differs"


class Distrust:
    """What is untrusted so far; it begins with what is not known.

    Not known are the code points beyond those that are compared. For a tokenizer whose normalizer looks around, neither
    are those that are no characters yet: nobody knows what they will join, or become together.
    """

    def __init__(self, reference: Reference) -> None:
        self._known = [Pattern(NOT_COMPARED, (BEYOND,))]
        if looks_around(reference):
            self._known.append(Pattern(UNASSIGNED, (ranges_of(unassigned()),)))
        keys = [key for key in charsmap.keys(reference.charsmap) if len(key) > 1]
        self._firsts, self._seconds = {key[0] for key in keys}, {key[1] for key in keys}
        self._tokens = [reference.control_strings, reference.user_strings]
        self._joiners = set(map(chr, joiners()))
        self._alone: set[int] = set()
        self._before_marks: set[int] = set()
        self._behind_marks: set[int] = set()
        self._strings: dict[str, Pattern] = {}
        self._are_replaced = False
        self._untrusted: Untrusted | None = None

    def learn(self, smallest: str) -> str | None:
        """Distrust a string that differs, while no shorter one within it does, and its kind.

        Returns:
            Which kind it is; None if what has been learnt before explains it.
        """
        neighbours = pairwise(smallest)
        replaced = any(first in self._firsts and second in self._seconds for first, second in neighbours)
        if not self._alone.isdisjoint(map(ord, smallest)) or any(string in smallest for string in self._strings):
            return None
        self._untrusted = None
        if replaced:
            self._are_replaced = True
            return REPLACED
        if of_token := [tokens for tokens in self._tokens if any(token in smallest for token in tokens)]:
            self._strings |= {token: Pattern.of_string(TOKEN, token) for tokens in of_token for token in tokens}
            return TOKEN
        for marks in (self._joiners, set(MARKS)):
            beside = [character for character in smallest if character not in marks]
            if len(smallest) == 2 and len(beside) < 2:
                rarer = beside[0] if beside else min(smallest, key=ORDINARY.count)
                (self._before_marks if smallest[0] == rarer else self._behind_marks).add(ord(rarer))
                return BESIDE_MARKS
        if len(smallest) == 1 or not smallest.isascii():
            self._alone |= {ord(character) for character in smallest if len(smallest) == 1 or not character.isascii()}
            return DIFFER
        self._strings[smallest] = Pattern.of_string(STRING, smallest)
        return STRING

    def untrusted(self) -> Untrusted:
        """Return what is untrusted by now."""
        if self._untrusted is None:
            self._untrusted = Untrusted(self._known + self._learnt())
        return self._untrusted

    @property
    def strings(self) -> int:
        """Number of strings that are untrusted each by itself."""
        return sum(pattern.why == STRING for pattern in self._strings.values())

    def _learnt(self) -> list[Pattern]:
        patterns = []
        if self._alone:
            patterns.append(Pattern(DIFFER, (ranges_of(self._alone),)))
        marks = ranges_of(map(ord, self._joiners))
        if self._before_marks:
            patterns.append(Pattern(BESIDE_MARKS, (ranges_of(self._before_marks), marks)))
        if self._behind_marks:
            patterns.append(Pattern(BESIDE_MARKS, (marks, ranges_of(self._behind_marks))))
        if self._are_replaced:
            firsts, seconds = (ranges_of(map(ord, characters)) for characters in (self._firsts, self._seconds))
            patterns.append(Pattern(REPLACED, (firsts, seconds)))
        return [*patterns, *self._strings.values()]
