"""Rewrite SentencePiece's normalization rules as normalizers of a tokenizer.json.

A model's `precompiled_charsmap` replaces, from left to right, the longest string that it has a rule for. The step that
tokenizers have for it, Precompiled, looks at grapheme clusters: of a short one, it takes the rule of its shortest
beginning and loses the rest, and of others the rules of single characters (seen: the accents of "Tiếng Việt", written
as characters of their own, are lost). Here it only sees clusters of one character:

    1. what has a rule, or is one character, is a unit, as is a run of ASCII; UNIT is put behind each
    2. a unit that the next steps would not make what its rule says is hidden
    3. between the characters of a unit, WITHIN is put
    4. Precompiled
    5. WITHIN is taken out, and NFC joins the characters of each unit, where there are too many to be hidden
    6. UNIT is taken out, and what was hidden is given its results

So each unit becomes what its rule says. Of the 225,276 rules of nmt_nfkc, NFC joins all but 21 as it should, those of
letters that are newer than its own tables; of nmt_nfkc_cf's, all but 834.
"""

import base64
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from pretrain_llama.tokenization.charsmap import rules as read_rules

# Noncharacters, which no text is to hold (Unicode 16, 23.7); where one does, it is escaped meanwhile.
UNIT, WITHIN, ESCAPE = "\ufdd0", "\ufdd1", "\ufdd2"
_PRIVATE = 0xF0000  # the first of Unicode's 65,534 characters for private use in plane 15
_MOST_HIDDEN = 256  # results, two steps each
_ESCAPED = {ESCAPE: f"{ESCAPE}2", WITHIN: f"{ESCAPE}1", UNIT: f"{ESCAPE}0"}

Step = dict[str, Any]


def normalizer_steps(charsmap: bytes) -> list[Step]:
    """Return normalizers for a tokenizer.json that do what a `precompiled_charsmap` does."""
    rules = read_rules(charsmap)
    longer = [key for key in rules if len(key) > 1]
    followers = {character for key in longer for character in key[1:]}
    follows = one_of(followers)
    unit = rf"(?=.{follows}){one_of(longer)}|."
    if not any(map(str.isascii, followers)):  # but for \r, of which \r\n is one cluster
        unit = rf"[\x00-\x0c\x0e-\x7f]+(?!{follows})|{unit}"
    hidden, joins = _hidden(rules), []
    if len(hidden) > _MOST_HIDDEN:
        from tokenizers import normalizers

        hidden, joins = _hidden(rules, normalizers.NFC().normalize_str), [{"type": "NFC"}]
    names = {result: ESCAPE + chr(_PRIVATE + number) for number, result in enumerate(hidden)}
    return [
        replace_pattern(rf"(?m)(?>{unit})\K", UNIT),
        *(replace_pattern(_whole_unit(keys), names[result]) for result, keys in hidden.items()),
        replace_pattern(rf"(?<=[^{UNIT}])(?=[^{UNIT}\x00-\x7f])|(?<=[^{UNIT}\x00-\x7f])(?=[^{UNIT}])", WITHIN),
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()},
        replace(WITHIN, ""),
        *joins,
        replace(UNIT, ""),
        *(replace(name, result) for result, name in names.items()),
    ]


def _hidden(rules: dict[str, str], join: Callable[[str], str] = str) -> dict[str, list[str]]:
    """Return, by result, the strings of rules that do not become it when their characters do, and are joined."""
    joined = join(UNIT.join("".join(rules.get(character, character) for character in key) for key in rules))
    hidden = defaultdict(list)
    for (key, result), found in zip(rules.items(), joined.split(UNIT), strict=True):
        if found != result:
            hidden[result].append(key)
    return hidden


def escaped(steps: list[Step]) -> list[Step]:
    """Return normalizers with the text's own UNIT, WITHIN and ESCAPE escaped before, and restored after."""
    there = [replace(character, text) for character, text in _ESCAPED.items()]
    back = [replace(text, character) for character, text in reversed(_ESCAPED.items())]
    return [*there, *steps, *back]


def _whole_unit(keys: list[str]) -> str:
    """Return an expression that matches units; the characters of one alone come first, as Oniguruma looks for them."""
    if len(keys) > 1:
        return rf"(?<![^{UNIT}]){one_of(keys)}(?={UNIT})"
    literal = "".join(rf"\x{{{ord(character):x}}}" for character in keys[0])
    return rf"{literal}(?<=\A{literal}|{UNIT}{literal})(?={UNIT})"


def replace(text: str, by: str) -> Step:
    """Return the normalizer that replaces a string."""
    return {"type": "Replace", "pattern": {"String": text}, "content": by}


def replace_pattern(pattern: str, by: str) -> Step:
    """Return the normalizer that replaces what a regular expression of Oniguruma matches."""
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": by}


def split(pattern: str) -> Step:
    """Return the pre-tokenizer that splits matches of a regular expression (Oniguruma) from what is around them."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def one_of(strings: Iterable[str]) -> str:
    """Return an expression that matches the longest one of some strings."""
    root: dict[str, Any] = {}
    for string in strings:
        node = root
        for character in string:
            node = node.setdefault(character, {})
        node[""] = {}
    return _expression(root) or "(?!)"


def _expression(node: dict[str, Any]) -> str:
    by_rest = defaultdict(list)
    for character, rest in node.items():
        if character:
            by_rest[_expression(rest)].append(character)
    if not by_rest:
        return ""
    expression = "|".join(_class(characters) + rest for rest, characters in by_rest.items())
    return f"(?:{expression})" + "?" * ("" in node)


def _class(characters: Iterable[str]) -> str:
    """Return an expression that matches each of some characters."""
    points = sorted(map(ord, characters))
    runs: list[list[int]] = []
    for point in points:
        if runs and point == runs[-1][1] + 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return "[" + "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in runs) + "]"
