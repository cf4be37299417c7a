"""Collect what a mixture leaves out: each shard with its reason, and each choice that matches nothing."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pretrain_llama.errors import ConfigError, listed
from pretrain_llama.names import ShardName

TO_LIST = "or choose omissions: list (mixture in run.yaml, or --omissions list): they are listed, with their tokens"
MOST_SHOWN = 20
NEXT_LINE = "\n         "


@dataclass
class Omissions:
    """What a mixture leaves out, and keys that match nothing; with `listed`, those that look forgotten are no error.

    Attributes:
        listed: `omissions: list` of the run, against `error`.
        shards: reason by shard name.
        keys: what was given and matches no shard, in words.
    """

    listed: bool = False
    shards: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    _forgotten: list[tuple[str, str, str]] = field(default_factory=list)

    def leave_out(self, shard: ShardName, reason: str) -> None:
        """Note a shard that a person left out on purpose."""
        self.shards[str(shard)] = reason

    def forgotten_shards(self, problem: str, shards: Iterable[ShardName], *, where: object, action: str) -> None:
        """Note shards that look forgotten."""
        self._forgotten.append((problem, str(where), action))
        for shard in shards:
            self.leave_out(shard, problem)

    def forgotten_key(self, problem: str, *, where: object, action: str) -> None:
        """Note a key that matches nothing."""
        self._forgotten.append((problem, str(where), action))
        self.keys.append(problem)

    def check(self) -> None:
        """Raise ConfigError if something looks forgotten and omissions are not listed; it names all of that."""
        if self.listed or not self._forgotten:
            return
        parts = (list(dict.fromkeys(part)) for part in zip(*self._forgotten, strict=True))
        problems, where, actions = (listed(part, NEXT_LINE, MOST_SHOWN) for part in parts)
        raise ConfigError(problems, where=where, action=f"{actions}{NEXT_LINE}{TO_LIST}")
