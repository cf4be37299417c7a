"""Numbers by domain, such as rates. A tree of them is

    {domain: number}  or  {domain: {subdomain: number}}                        for all languages
    {language: {domain: number}}  or  {language: {domain: {subdomain: number}}}

or a mix of these. A language with numbers of its own uses no others.
"""

import difflib
from collections.abc import Callable, Iterator
from typing import Any

from pretrain_llama.errors import ConfigError
from pretrain_llama.mixture.omissions import Omissions
from pretrain_llama.names import ShardName

Path = tuple[str, ...]


def is_number(value: Any) -> bool:
    """Say whether a value of a JSON or YAML file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


class Tree:
    """Numbers by domain, and which of them shards have used.

    Args:
        value: the tree, as in the module's docstring.
        what: one of its numbers, for messages: "rate".
        place: where it stands, for messages.
        allowed: says whether a number may stand there.
        action: what else to write, for messages.

    Raises:
        ConfigError: it is no tree, or holds what may not stand there.
    """

    def __init__(self, value: Any, what: str, place: str, allowed: Callable[[float], bool], action: str) -> None:
        if not isinstance(value, dict):
            raise ConfigError("not an object with keys", where=place, action="write it as in config/runs/demo")
        self._tree, self._what, self._place = value, what, place
        self._used: set[Path] = set()
        for path, number in _leaves(value):
            if not is_number(number) or not allowed(number):
                raise ConfigError(f"{number!r} is no {what}", where=f"{place}: {'.'.join(path)}", action=action)

    def has_language(self, language: str) -> bool:
        """Say whether a language has numbers of its own."""
        return isinstance(self._tree.get(language), dict)

    def find(self, shard: ShardName) -> float | None:
        """Return a shard's number, None where it has none; note that it is used."""
        path: Path = (shard.language,) if self.has_language(shard.language) else ()
        node = self._numbers_of(shard.language)
        for key in (shard.domain, shard.subdomain):
            if key not in node:
                return None
            node, path = node[key], (*path, key)
            if not isinstance(node, dict):
                self._used.add(path)
                return node
        return None

    def gap(self, shard: ShardName) -> str:
        """Say that a shard has no number."""
        problem = f"domain {shard.domain!r} of language {shard.language!r} has no {self._what}"
        return problem + f" for subdomain {shard.subdomain!r}" * (shard.domain in self._numbers_of(shard.language))

    def note_unused(self, shards: list[ShardName], omissions: Omissions) -> None:
        """Note the numbers that no shard has used, after all of them were looked for."""
        for path, _ in _leaves(self._tree):
            if path not in self._used:
                problem = f"the {self._what} of {'.'.join(path)} matches no shard"
                omissions.forgotten_key(problem, where=self._place, action=_hint(path, shards))

    def _numbers_of(self, language: str) -> dict[str, Any]:
        return self._tree[language] if self.has_language(language) else self._tree


def _leaves(tree: dict[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    for key, value in tree.items():
        path = (*above, key)
        yield from _leaves(value, path) if isinstance(value, dict) else [(path, value)]


def _hint(path: Path, shards: list[ShardName]) -> str:
    """Say what there is instead of a path that matches no shard."""
    first, *below = path
    if first in {shard.language for shard in shards}:
        if not below:
            return f"{first!r} is a language: give its domains numbers, or remove it"
        shards = [shard for shard in shards if shard.language == first]
        first, *below = below
    there = {shard.domain for shard in shards}
    if below and first in there:
        there = {shard.subdomain for shard in shards if shard.domain == first}
        first, *below = below
    close = difflib.get_close_matches(first, sorted(there), 1)
    if close:
        return f"write {close[0]!r} for {first!r}, or remove it"
    return f"correct or remove it; there are {', '.join(sorted(there)) or 'none'}"
