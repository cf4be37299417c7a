"""What a person decides about a mixture: rates by domain, probabilities by language, shards to leave out."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import ConfigError
from pretrain_llama.names import PREFIX_SUFFIX, ShardName

Rates = dict[tuple[str | None, str], float]


@dataclass
class Omissions:
    """What a mixture leaves out, and keys that match nothing; with `listed`, these are no error.

    Attributes:
        listed: `omissions: list` of the run, against `error`.
        shards: reason by shard name.
        keys: what was given and matches no shard, in words.
    """

    listed: bool = False
    shards: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def leave_out(self, shard: ShardName, reason: str) -> None:
        """Note a shard that a person left out on purpose."""
        self.shards[str(shard)] = reason

    def unintended(self, problem: str, *, where: object, action: str, shard: ShardName | None = None) -> None:
        """Note a shard or key that looks forgotten, or raise ConfigError where omissions are not listed."""
        if not self.listed:
            action += "; or set omissions: list in run.yaml, and it is listed with its tokens"
            raise ConfigError(problem, where=where, action=action)
        if shard:
            self.shards[str(shard)] = problem
        else:
            self.keys.append(problem)


def load_rates(path: str | Path) -> Rates:
    """Return the rates of a data_ratio.json by (language, domain); language None stands for all of them.

    The file is flat, {domain: rate}, or per language, {language: {domain: rate}}, or both; a language with rates
    of its own uses no others. Rate 0 leaves a domain out.

    Raises:
        ConfigError: no JSON object, or a rate that is no number of at least 0.
    """
    rates: Rates = {}
    for key, value in _load_object(path).items():
        own = (
            {(key, domain): rate for domain, rate in value.items()} if isinstance(value, dict) else {(None, key): value}
        )
        rates.update(own)
    for (language, domain), rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < float("inf"):
            place = f"{path}: {language}.{domain}" if language else f"{path}: {domain}"
            raise ConfigError(
                f"{rate!r} is no rate", where=place, action="give a number of at least 0; 0 leaves it out"
            )
    return rates


def load_language_probabilities(path: str | Path) -> dict[str, float]:
    """Return the share of each language in a lang_prob.json; shares or token counts, they are normalised.

    Raises:
        ConfigError: no JSON object, or a share that is no number above 0.
    """
    shares = _load_object(path)
    for language, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < float("inf"):
            raise ConfigError(
                f"{share!r} is no probability",
                where=f"{path}: {language}",
                action="give a number above 0; to leave the language out, give its domains rate 0 and remove it here",
            )
    total = sum(shares.values())
    return {language: share / total for language, share in shares.items()}


def load_excluded(path: str | Path) -> list[str]:
    """Return the shard names of an exclude_iterator.json, each as given but without counts, .bin and .idx.

    The file is {"exclude_iterator_name": [names]}. Names are compared without their counts, so that a list
    outlives its tokenizer.

    Raises:
        ConfigError: the file has another form.
    """
    value = _load_object(path)
    names = value.get("exclude_iterator_name")
    if list(value) != ["exclude_iterator_name"] or not isinstance(names, list):
        raise ConfigError("not a list to exclude", where=path, action='write {"exclude_iterator_name": [shard names]}')
    return [name.removesuffix(".bin").removesuffix(".idx").split(PREFIX_SUFFIX)[0] for name in names]


def match_rates(shards: list[ShardName], rates: Rates, path: str | Path, omissions: Omissions) -> dict[str, float]:
    """Return the rate of each shard that has one above 0, by shard name; note the others in `omissions`.

    Raises:
        ConfigError: a shard has no rate or a rate has no shard, unless omissions are listed.
    """
    matched, used = {}, set()
    own_languages = {language for language, _ in rates}
    for shard in shards:
        key = (shard.language if shard.language in own_languages else None, shard.domain)
        if key not in rates:
            omissions.unintended(
                f"domain {shard.domain!r} of language {shard.language!r} has no rate",
                where=path,
                action="add it; rate 0 leaves it out",
                shard=shard,
            )
            continue
        used.add(key)
        if rates[key] == 0:
            omissions.leave_out(shard, "rate 0")
        else:
            matched[str(shard)] = rates[key]
    for language, domain in [key for key in rates if key not in used]:
        place = f"domain {domain!r}" + (f" of language {language!r}" if language else "")
        domains = sorted({shard.domain for shard in shards if language in (None, shard.language)})
        omissions.unintended(
            f"the rate of {place} matches no shard",
            where=path,
            action=f"correct or remove it; the domains there are {', '.join(domains) or 'none'}",
        )
    return matched


def match_languages(languages: list[str], probabilities: dict[str, float], path: str | Path) -> None:
    """Check that the languages with shards to sample are those with a probability.

    Raises:
        ConfigError: a language lacks its probability, or a probability its shards.
    """
    for language in languages:
        if language not in probabilities:
            raise ConfigError(f"language {language!r} has no probability", where=path, action="add it")
    for language in probabilities:
        if language not in languages:
            raise ConfigError(
                f"language {language!r} has a probability, but no shard to sample",
                where=path,
                action="remove it, or give one of its domains a rate above 0",
            )


def check_against_corpora(folder: str | Path, corpora: list[Corpus], list_omissions: bool) -> None:
    """Check a run's rates and language probabilities against the table of corpora, before anything is built.

    Raises:
        ConfigError: as `match_rates` and `match_languages`.
    """
    ratio_path, language_path = Path(folder) / "data_ratio.json", Path(folder) / "lang_prob.json"
    shards = [ShardName(corpus.language, corpus.domain, corpus.subdomain, "0000") for corpus in corpora]
    sampled = match_rates(shards, load_rates(ratio_path), ratio_path, Omissions(list_omissions))
    languages = sorted({shard.language for shard in shards if str(shard) in sampled})
    match_languages(languages, load_language_probabilities(language_path), language_path)
    load_excluded(Path(folder) / "exclude_iterator.json")


def _load_object(path: str | Path) -> dict[str, Any]:
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("no such file", where=path, action="write it, as in config/runs/demo") from None
    except ValueError as error:
        raise ConfigError(f"no JSON: {error}", where=path, action="correct it at the place named") from None
    if not isinstance(value, dict) or not value:
        raise ConfigError("not a JSON object with keys", where=path, action="write it as in config/runs/demo")
    return value
