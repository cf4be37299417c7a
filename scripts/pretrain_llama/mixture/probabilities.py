"""The selection probability of every shard.

    p(i) = tc(i) m(i) / (sum over the shards of its language of tc m)  x  L(language)

tc tokens, m the rate of the shard's domain, L the language probability, normalised to sum 1.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from pretrain_llama.errors import ConfigError
from pretrain_llama.mixture import choices, signature
from pretrain_llama.mixture.choices import Omissions
from pretrain_llama.names import CountedName


@dataclass(frozen=True)
class SampledShard:
    """A shard of the mixture: its rate, and the probability with which a sequence is drawn from it."""

    name: CountedName
    rate: float
    probability: float


@dataclass(frozen=True)
class Mixture:
    """The tokenizer's identity; the sampled shards, by name, their probabilities summing to 1; what is left out."""

    tokenizer: str | None
    shards: list[SampledShard]
    left_out: list[tuple[CountedName, str]]
    unmatched_keys: list[str]


def compute(
    signature_path: str | Path,
    ratio_path: str | Path,
    language_path: str | Path,
    exclude_path: str | Path,
    list_omissions: bool = False,
) -> Mixture:
    """Compute the mixture of a signature and a person's choices.

    Args:
        signature_path: data_signature.json.
        ratio_path: data_ratio.json, see `choices.load_rates`.
        language_path: lang_prob.json, see `choices.load_language_probabilities`.
        exclude_path: exclude_iterator.json, see `choices.load_excluded`.
        list_omissions: leave out and list what has no rate and what matches nothing, rather than stop.

    Raises:
        ConfigError, DataError: the choices and the signature do not fit.
    """
    omissions = Omissions(list_omissions)
    signed = signature.load(signature_path)
    counted = {str(name.shard): name for name in signed.shards}
    included = _without_excluded(counted, exclude_path, omissions)
    rates = choices.match_rates(
        [c.shard for c in counted.values()], choices.load_rates(ratio_path), ratio_path, omissions
    )
    sampled = {shard: rates[shard] for shard in included if shard in rates}
    shares = choices.load_language_probabilities(language_path)
    choices.match_languages(sorted({counted[shard].shard.language for shard in sampled}), shares, language_path)
    probabilities = probabilities_of([counted[shard] for shard in sampled], list(sampled.values()), shares)
    return Mixture(
        signed.tokenizer,
        [SampledShard(counted[s], rate, p) for (s, rate), p in zip(sampled.items(), probabilities, strict=True)],
        [(counted[shard], reason) for shard, reason in sorted(omissions.shards.items())],
        omissions.keys,
    )


def _without_excluded(counted: dict[str, CountedName], path: str | Path, omissions: Omissions) -> list[str]:
    excluded = set(choices.load_excluded(path))
    for entry in sorted(excluded - set(counted)):
        omissions.unintended(
            f"excluded {entry!r} matches no shard", where=path, action="correct it, as it stands in the signature"
        )
    for shard, name in counted.items():
        if shard in excluded:
            omissions.leave_out(name.shard, "excluded")
        elif not name.tokens:
            omissions.leave_out(name.shard, "holds no tokens")
    return [shard for shard in counted if shard not in omissions.shards]


def probabilities_of(names: list[CountedName], rates: list[float], shares: dict[str, float]) -> list[float]:
    """Return p(i) of the formula for each name; shares: probability by language, summing to 1."""
    if not names:
        raise ConfigError("the mixture is empty", where="its rates and exclude list", action="leave something in")
    language_weight: dict[str, float] = defaultdict(float)
    for name, rate in zip(names, rates, strict=True):
        language_weight[name.shard.language] += name.tokens * rate
    return [
        name.tokens * rate / language_weight[name.shard.language] * shares[name.shard.language]
        for name, rate in zip(names, rates, strict=True)
    ]
