"""Compute the selection probability of every shard.

    p(i) = tc(i) m(i) / (sum over the shards of its language of tc m)  x  L(language)

tc tokens, m the rate of the shard's domain, L the share of the language, normalised to sum 1. Where max_epochs caps a
shard, what it may not take goes to the others of its language, by their tc m (`filling`).

Shards that min_probability leaves out count nowhere: neither in the tokens that temperature and UniMax compute rates
from, nor in proportional shares. So the mixture is computed in rounds: all shards below the minimum are left out
together, and the rest is computed again, until none is below. This ends, since every round leaves out a shard, and no
language loses its last one. The last round knows nothing of the shards that are gone, so the mixture is the one that
excluding them by name gives.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import fsum

from pretrain_llama.errors import ConfigError
from pretrain_llama.mixture import choices as matching
from pretrain_llama.mixture.choices import Choices
from pretrain_llama.mixture.filling import TOLERANCE, fill
from pretrain_llama.mixture.languages import Shares, normalised
from pretrain_llama.mixture.largest_remainder import largest_remainder
from pretrain_llama.mixture.mixture import LeftOut, Mixture, SampledShard, TrainingLength
from pretrain_llama.mixture.numbers import MOST_TOKENS
from pretrain_llama.mixture.omissions import Omissions
from pretrain_llama.mixture.signature import Signature
from pretrain_llama.mixture.weighting import cap_of, rates_of
from pretrain_llama.names import CountedName


@dataclass(frozen=True)
class Weighted:
    """A shard to sample, with its rate and the most epochs that it may have."""

    name: CountedName
    rate: float
    max_epochs: float


def compute(signed: Signature, choices: Choices, length: TrainingLength) -> Mixture:
    """Compute the mixture of a signature and a person's choices.

    Args:
        signed: the shards.
        choices: what a person decided.
        length: of the training.

    Raises:
        ConfigError: the choices do not fit the shards, each other, or the length.
    """
    _check_length(length, choices)
    omissions = Omissions(choices.list_omissions)
    matched = _matched(signed.shards, choices, length, omissions)
    kept, probabilities = _settled(matched, choices, length.tokens, omissions)
    counts = largest_remainder(probabilities, length.sequences)
    by_shard = {str(name.shard): name for name in signed.shards}
    return Mixture(
        signed.tokenizer,
        length,
        [
            SampledShard(part.name, part.rate, part.max_epochs, probability, count)
            for part, probability, count in zip(kept, probabilities, counts, strict=True)
        ],
        [LeftOut(by_shard[shard], reason) for shard, reason in sorted(omissions.shards.items())],
        omissions.keys,
    )


def _too_short(names: list[CountedName], length: TrainingLength) -> Iterator[tuple[CountedName, str]]:
    """Yield the shards that do not fill one sequence, within which megatron-core would repeat them, and say so."""
    needed = length.sequence_length_tokens + (length.sequence_length_tokens > 1)  # the last token has a label, too
    for name in names:
        if not name.tokens:
            yield name, "holds no tokens"
        elif name.tokens < needed:
            yield name, f"holds {name.tokens:,} tokens, fewer than the {needed:,} of one sequence"


def _check_length(length: TrainingLength, choices: Choices) -> None:
    if length.tokens > MOST_TOKENS:
        raise ConfigError(
            f"the training would draw more than {MOST_TOKENS:,} tokens, which nothing can count",
            where=choices.run_path or "--total-tokens",
            action="correct its length",
        )


def _matched(
    names: list[CountedName], choices: Choices, length: TrainingLength, omissions: Omissions
) -> list[Weighted]:
    """Return the shards to sample, by name, with the rates and caps of a person's choices, weightings left aside."""
    shards = [name.shard for name in names]
    matching.match_excluded(choices, {str(shard) for shard in shards}, omissions)
    rates = matching.match(
        choices, shards, omissions, {str(name.shard): why for name, why in _too_short(names, length)}
    )
    caps = matching.match_caps(choices, shards, omissions)
    omissions.check()
    if not rates:
        raise ConfigError(
            "the mixture is empty: no shard is left to sample",
            where=choices.ratio_path,
            action="give a domain a rate above 0, or exclude less",
        )
    sampled = ((name, str(name.shard)) for name in names)
    return [Weighted(name, rates[shard], caps[shard]) for name, shard in sampled if shard in rates]


def _settled(
    sampled: list[Weighted], choices: Choices, tokens: int, omissions: Omissions
) -> tuple[list[Weighted], list[float]]:
    """Return the shards that no round leaves out, weighted, and their probabilities; see the module's docstring."""
    while True:
        weighted = _weighted(sampled, choices)
        shares = _shares(weighted, choices)
        probabilities = _probabilities(weighted, shares, choices, tokens)
        crumbs = {
            part.name: f"probability {probability:.3g} is below {choices.min_probability:.3g}"
            for part, probability in zip(weighted, probabilities, strict=True)
            if probability < choices.min_probability
        }
        if not crumbs:
            return weighted, probabilities
        sampled = [part for part in sampled if part.name not in crumbs]
        _check_languages_left(sampled, shares, choices)
        for name, reason in crumbs.items():
            omissions.leave_out(name.shard, reason)


def _weighted(sampled: list[Weighted], choices: Choices) -> list[Weighted]:
    """Return the shards to sample with the rates, and within the caps, that weightings make of them."""
    made: dict[str, Weighted] = {}
    for language, weighting in choices.weighting.items():
        own = [part for part in sampled if part.name.shard.language == language]
        rates = rates_of([part.name for part in own], weighting) if own else []
        for part, rate in zip(own, rates, strict=True):
            made[str(part.name)] = Weighted(part.name, rate, min(part.max_epochs, cap_of(weighting)))
    return [made.get(str(part.name), part) for part in sampled]


def _shares(weighted: list[Weighted], choices: Choices) -> Shares:
    """Return the probability of each language. One with a weighting counts by its tokens, if they are proportional."""
    weights: dict[str, float] = defaultdict(int)
    for part in weighted:
        language = part.name.shard.language
        weights[language] += part.name.tokens * (1 if language in choices.weighting else part.rate)
    return normalised(choices.shares, weights)


def _probabilities(weighted: list[Weighted], shares: Shares, choices: Choices, tokens: int) -> list[float]:
    """Return p(i) of each shard; tokens: that the training draws."""
    probabilities = [0.0] * len(weighted)
    for language, share in shares.items():
        own = [i for i, part in enumerate(weighted) if part.name.shard.language == language]
        caps = [weighted[i].max_epochs * weighted[i].name.tokens / tokens for i in own]
        _check_capacity(language, share, fsum(caps), choices, tokens)
        weights = [weighted[i].name.tokens * weighted[i].rate for i in own]
        for i, probability in zip(own, fill(weights, caps, share), strict=True):
            probabilities[i] = probability
    return probabilities


def _check_capacity(language: str, share: float, most: float, choices: Choices, tokens: int) -> None:
    if most < share * (1 - TOLERANCE):
        raise ConfigError(
            f"language {language!r} is to give {share * tokens:,.0f} tokens; its shards have {most * tokens:,.0f} "
            f"within their most epochs, {(share - most) * tokens:,.0f} too few",
            where=f"{choices.run_path}: mixture, max_epochs or weighting",
            action=f"multiply its most epochs by {share / most:.4g} or more, lower its probability from {share:.4g} "
            f"to {most:.4g}, sample more of its domains, or train on fewer tokens",
        )


def _check_languages_left(kept: list[Weighted], shares: Shares, choices: Choices) -> None:
    for language in shares.keys() - {part.name.shard.language for part in kept}:
        raise ConfigError(
            f"every shard of language {language!r} is below min_probability {choices.min_probability:.3g}",
            where=f"{choices.run_path}: mixture.min_probability",
            action="lower it, or remove the language",
        )
