"""Name corpora after the folders and files that their texts lie in: a language, a domain and a subdomain.

en_code_python/part-0.jsonl     en, code, python
arabic/news/2024/a.jsonl.gz     ar, news, 2024
wiki-ar/dump.parquet            ar, wiki, all
stories.jsonl                   und, stories, all: "und" is ISO 639's code of a language that nobody told
"""

import locale
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pretrain_llama.configuration import LONGEST_NAME

UNKNOWN = "und"
ALL = "all"
# Codes of languages that are rather words, among those of three letters.
_WORDS = {"the", "doi", "mag", "sat", "sid", "fur", "raj", "wal"}
# "ar": "ar", "arabic": "ar", "yue": "yue"; from Python's own table of names of locales.
LANGUAGES = {
    name: match[1]
    for name, value in locale.locale_alias.items()
    if (match := re.match(r"([a-z]{2,3})_", value)) and name.isalpha() and (len(name) > 3 or name == match[1])
} | dict.fromkeys(_WORDS, "")
_NUMBERED = re.compile(r"([-_.]?(part|shard|split|chunk|batch|train))?[-_.]?\d+([-_.]of[-_.]?\d+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Naming:
    """A language, a domain and a subdomain, as the table of corpora takes them."""

    language: str
    domain: str
    subdomain: str

    def numbered(self, number: int) -> "Naming":
        """Return a further naming like this one; number: 2 for the second."""
        return Naming(self.language, self.domain, f"{self.subdomain}_{number}")


def naming(folders: Sequence[str], stem: str) -> Naming:
    """Return the naming of a file.

    Args:
        folders: names of those that the file lies in, from the outermost one.
        stem: of the file's name, without its endings. It counts where no folder tells a language.
    """
    language, words = _language(_words(folders))
    if not language:
        language, own = _language(_words([_NUMBERED.sub("", stem)]))
        words = words or own
    words = [clean for word in words if (clean := re.sub(r"[^a-z0-9.+-]+", "-", word.lower()).strip("-."))]
    domain, *rest = words or ["text"]
    room = LONGEST_NAME - len(language) - len("und__")
    domain = domain[: room // 2]
    return Naming(language or UNKNOWN, domain, ("_".join(rest) or ALL)[: room - len(domain) - 8].strip("_"))


def stem_of(name: str) -> str:
    """Return a file's name without its endings."""
    return re.sub(r"(\.(jsonl|json|ndjson|parquet|gz|zst))+$", "", name)


def _words(names: Sequence[str]) -> list[str]:
    return [word for name in names for word in re.split(r"[_\s]+", name) if word]


def _language(words: list[str]) -> tuple[str, list[str]]:
    """Return the language that a word tells, or a piece of one, "" where none does; and the other words."""
    for at, word in enumerate(words):
        if code := _code(word):
            rest = words[at + 1 :]
            if rest and re.fullmatch(r"[A-Z]{2}", rest[0]):  # pt_BR
                code, rest = f"{code}-{rest[0]}", rest[1:]
            return code, words[:at] + rest
    for at, word in enumerate(words):
        pieces = re.split(r"[-.]", word)
        for place, piece in enumerate(pieces):
            if code := _code(piece):
                others = "-".join(pieces[:place] + pieces[place + 1 :])
                return code, [*words[:at], *([others] if others else []), *words[at + 1 :]]
    return "", words


def _code(word: str) -> str:
    """Return the language that a word is the code or the name of, with its script or country: en, zh-hans, pt-BR."""
    code, dash, variant = word.partition("-")
    if dash and LANGUAGES.get(code.lower()) == code.lower() and re.fullmatch(r"[A-Z]{2}|[A-Za-z]{4}", variant):
        return f"{code.lower()}-{variant}"
    return LANGUAGES.get(word.lower(), "")
