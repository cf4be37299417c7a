"""Read the list of shards to leave out. Names are compared without counts, so a list outlives its tokenizer."""

import fnmatch
import re
from collections.abc import Collection
from pathlib import Path

from pretrain_llama import mappings
from pretrain_llama.errors import ConfigError
from pretrain_llama.names import PREFIX_SUFFIX

KEY = "exclude_iterator_name"
GLOB = re.compile(r"[*?[]")


class Excluded:
    """The entries of an exclude_iterator.json or .yaml: {"exclude_iterator_name": [names]}; none without a file.

    A name may carry counts, which are ignored, the folder that the signature gives it, .bin or .idx, and be a glob
    with * ? and [], but not in the counts.

    Raises:
        ConfigError: the file has another form, or a glob stands in the counts.
    """

    def __init__(self, path: str | Path | None) -> None:
        value = mappings.read(path) if path else {KEY: []}
        names = value.get(KEY) if isinstance(value, dict) else None
        if not isinstance(names, list) or list(value) != [KEY] or not all(isinstance(name, str) for name in names):
            raise ConfigError("not a list to exclude", where=path, action=f'write {{"{KEY}": [shard names]}}')
        bare = {_bare(name, path): name for name in names}
        self._names = {name: given for name, given in bare.items() if not GLOB.search(name)}
        self._globs = {re.compile(fnmatch.translate(name)): given for name, given in bare.items() if GLOB.search(name)}

    def __contains__(self, shard: str) -> bool:
        return shard in self._names or any(glob.match(shard) for glob in self._globs)

    def unused(self, shards: Collection[str]) -> list[str]:
        """Return the entries that match none of some shards, as they were given."""
        names = [given for name, given in self._names.items() if name not in shards]
        return names + [given for glob, given in self._globs.items() if not any(map(glob.match, shards))]


def _bare(name: str, path: str | Path | None) -> str:
    """Return a name without folder, counts and ending."""
    bare, _, counts = name.rpartition("/")[2].partition(PREFIX_SUFFIX)
    if GLOB.search(counts):  # cut off, they would widen what it matches: *_text_document_dc=937_* to every shard
        raise ConfigError(
            f"{name!r} is a glob of counts, which are not compared",
            where=path,
            action=f"end it before {PREFIX_SUFFIX}: a glob of shards, as {bare!r}, or the names of those that you mean",
        )
    return re.sub(r"\.(bin|idx)$", "", bare)
