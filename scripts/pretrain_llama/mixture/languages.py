"""Read and match the share of each language in the training."""

from math import fsum
from pathlib import Path

from pretrain_llama import mappings
from pretrain_llama.errors import ConfigError
from pretrain_llama.mixture.numbers import RANGE, is_amount
from pretrain_llama.mixture.omissions import Omissions
from pretrain_llama.names import ShardName

PROPORTIONAL = "proportional"

Shares = dict[str, float]


def load_shares(path: str | Path) -> Shares | None:
    """Return each language's number in lang_prob.json or .yaml, as given: shares or token counts.

    Returns:
        None for the word proportional: every language as much as its rates make of its tokens.

    Raises:
        ConfigError: it is neither, or a share is no number in the range of shares.
    """
    given = mappings.read(path)
    if given == PROPORTIONAL:
        return None
    if not isinstance(given, dict):
        raise ConfigError(
            "not an object with keys", where=path, action=f'write {{"en": 0.7, "ar": 0.3}}, or "{PROPORTIONAL}"'
        )
    for language, share in given.items():
        if not is_amount(share):
            raise ConfigError(
                f"{share!r} is no probability",
                where=f"{path}: {language}",
                action=f"give a number {RANGE}; to leave the language out, give its domains rate 0 and remove it here",
            )
    return given


def match_shares(given: Shares | None, shards: list[ShardName], path: str | Path, omissions: Omissions) -> None:
    """Note the shards whose language has no share, and the shares of languages without shards.

    Args:
        given: of `load_shares`.
        shards: those to sample.
        path: of the file, for messages.
        omissions: where to note.
    """
    if given is None:
        return
    there = {shard.language for shard in shards}
    for language in sorted(there - given.keys()):
        omissions.forgotten_shards(
            f"language {language!r} has no probability",
            [shard for shard in shards if shard.language == language],
            where=path,
            action="add its probability",
        )
    for language in given:
        if language not in there:
            omissions.forgotten_key(
                f"language {language!r} has a probability, but no shard to sample",
                where=path,
                action="remove it, or give one of its domains a rate above 0",
            )


def normalised(given: Shares | None, weights: Shares) -> Shares:
    """Return the probability of each language with shards to sample; they sum to 1.

    Args:
        given: of `load_shares`.
        weights: tokens times rate of the shards to sample, by language, which proportional shares go by.
    """
    chosen = {language: (given or weights)[language] for language in (given or weights) if language in weights}
    total = fsum(chosen.values())  # whatever their order
    return {language: share / total for language, share in chosen.items()}
