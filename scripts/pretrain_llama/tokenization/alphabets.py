"""Unicode characters by the properties that tokenizers may treat differently, as Python's Unicode tables have them."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

UNICODE_VERSION = unicodedata.unidata_version

# All that Unicode 17 has characters for, without surrogates and planes for private use, and what lies between.
SCALARS = [*range(0xD800), *range(0xE000, 0x33480), *range(0xE0000, 0xE0200)]
BEYOND = ((0x33480, 0xDFFFF), (0xE0200, 0x10FFFF))
LEAST_LETTERS = 20  # of what counts as a script


@cache
def alphabets() -> dict[str, list[str]]:
    """Return the letters, marks, digits and signs of each script, by the first word of their names, such as ARABIC."""
    by_word = defaultdict(list)
    for character in map(chr, SCALARS):
        if unicodedata.category(character)[0] in "LMNPS":
            by_word[unicodedata.name(character, "").partition(" ")[0]].append(character)
    return {word: letters for word, letters in by_word.items() if word and len(letters) >= LEAST_LETTERS}


@cache
def unassigned() -> list[int]:
    """Return the code points of SCALARS that are no characters yet."""
    return [code for code in SCALARS if unicodedata.category(chr(code)) == "Cn"]


@cache
def joiners() -> list[int]:
    """Return the code points that may join what stands before them, in a grapheme cluster or by normalization.

    Source: Unicode Standard Annex 29, Extend, SpacingMark, ZWJ, V, T and Regional_Indicator.
    """
    signs = [0x0E33, 0x0EB3, 0x200C, 0x200D, 0xFF9E, 0xFF9F]
    jamo = [*range(0x1160, 0x1200), *range(0xD7B0, 0xD800)]
    of_emoji = [*range(0x1F1E6, 0x1F200), *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080)]
    marks = [code for code in SCALARS if unicodedata.category(chr(code))[0] == "M"]
    return sorted({*signs, *jamo, *of_emoji, *marks})


@cache
def white_space() -> list[str]:
    """Return the characters that are white space, or look like it."""
    return [*(chr(code) for code in SCALARS if chr(code).isspace()), "\u180e", "\u200b", "\u2581", "\ufeff"]


def forms() -> Iterator[str]:
    """Yield other ways to write a character: decomposed, composed again, compatible, and at half width."""
    narrow = {}
    for character in map(chr, SCALARS):
        tag, _, base = unicodedata.decomposition(character).partition(" ")
        if tag == "<narrow>":
            narrow[chr(int(base, 16))] = character
    for character in map(chr, SCALARS):
        decomposed = unicodedata.normalize("NFD", character)
        compatible = unicodedata.normalize("NFKD", character)
        if compatible == character:
            continue
        written = {decomposed, compatible, *(unicodedata.normalize("NFC", form) for form in (decomposed, compatible))}
        written.add("".join(narrow.get(part, part) for part in decomposed))
        yield from sorted(written - {character})
