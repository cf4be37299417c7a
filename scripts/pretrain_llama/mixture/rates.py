"""Read numbers by domain, such as rates, from a tree of languages, domains and subdomains.

A tree is

    {domain: number}  or  {domain: {subdomain: number}}                        for all languages
    {language: {domain: number}}  or  {language: {domain: {subdomain: number}}}

or a mix of these. A language with numbers of its own uses no others. A key that would be both a language and, for
another one, a domain is refused.
"""

import difflib
from collections.abc import Callable, Iterator
from typing import Any

from pretrain_llama.errors import ConfigError
from pretrain_llama.mixture.omissions import Omissions
from pretrain_llama.names import ShardName

Path = tuple[str, ...]
MOST_LEVELS = 3  # language, domain, subdomain


class Tree:
    """Numbers by domain, and which of them shards have used.

    Args:
        value: the tree, as in the module's docstring.
        what: one of its numbers, for messages: "rate".
        where: it stands, for messages.
        allowed: says whether a value may stand there.
        action: what else to write, for messages.

    Raises:
        ConfigError: it is no tree, or holds what may not stand there.
    """

    def __init__(self, value: Any, what: str, where: str, allowed: Callable[[Any], bool], action: str) -> None:
        if not isinstance(value, dict):
            raise ConfigError("not an object with keys", where=where, action="write it as in config/runs/demo")
        self._tree, self._what, self._where = value, what, where
        self._used: set[Path] = set()
        self._as_domains: dict[str, str] = {}  # keys with numbers below them that a language took for a domain
        for path, number in _leaves(value):
            if not allowed(number):
                raise ConfigError(f"{number!r} is no {what}", where=f"{where}: {'.'.join(path)}", action=action)

    def has_language(self, language: str) -> bool:
        """Say whether a language has numbers of its own."""
        return isinstance(self._tree.get(language), dict)

    def find(self, shard: ShardName) -> float | None:
        """Return a shard's number, None where it has none; note that it is used."""
        path: Path = (shard.language,) if self.has_language(shard.language) else ()
        node = self._numbers_of(shard.language)
        if node is self._tree and isinstance(node.get(shard.domain), dict):
            self._as_domains[shard.domain] = shard.language
        for key in (shard.domain, shard.subdomain):
            if key not in node:
                return None
            node, path = node[key], (*path, key)
            if not isinstance(node, dict):
                self._used.add(path)
                return node
        return None

    def gap(self, shard: ShardName) -> str:
        """Return the message that a shard has no number."""
        problem = f"domain {shard.domain!r} of language {shard.language!r} has no {self._what}"
        return problem + f" for subdomain {shard.subdomain!r}" * (shard.domain in self._numbers_of(shard.language))

    def note_unused(self, shards: list[ShardName], omissions: Omissions) -> None:
        """Note the numbers that no shard has used, after all of them were looked for.

        Raises:
            ConfigError: those below a key hold for a language of this name, and for a domain of another one.
        """
        if both := sorted(self._as_domains.keys() & {shard.language for shard in shards}):
            key, other = both[0], self._as_domains[both[0]]
            raise ConfigError(
                f"{key!r} is a language here, and a domain of {other!r}, which has no {self._what} of its own",
                where=f"{self._where}: {key}",
                action=f"write those of {other} below it, {{{other!r}: {{{key!r}: …}}}}, with all of its domains",
            )
        for path, _ in _leaves(self._tree):
            if path not in self._used:
                problem = f"the {self._what} of {'.'.join(path)} matches no shard"
                omissions.forgotten_key(problem, where=self._where, action=_hint(path, shards))

    def _numbers_of(self, language: str) -> dict[str, Any]:
        return self._tree[language] if self.has_language(language) else self._tree


def _leaves(tree: dict[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield what stands under each path; whatever stands below a subdomain of a language is one leaf, and no number."""
    for key, value in tree.items():
        path = (*above, key)
        is_branch = isinstance(value, dict) and len(path) < MOST_LEVELS
        yield from _leaves(value, path) if is_branch else [(path, value)]


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
