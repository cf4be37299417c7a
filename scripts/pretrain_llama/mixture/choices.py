"""Load what a person decides about a mixture: rates, language shares, exclusions, and run.yaml's `mixture`."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pretrain_llama import mappings
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import ConfigError
from pretrain_llama.mixture.exclusion import Excluded
from pretrain_llama.mixture.languages import Shares, load_shares, match_shares
from pretrain_llama.mixture.numbers import RANGE, is_amount, is_rate
from pretrain_llama.mixture.omissions import Omissions
from pretrain_llama.mixture.rates import Tree
from pretrain_llama.names import ShardName
from pretrain_llama.settings import MixtureSettings, WeightingSettings

FILES = ("data_ratio", "lang_prob", "exclude_iterator")


@dataclass(frozen=True)
class Choices:
    """A person's decisions about a mixture.

    Attributes:
        ratio_path, language_path, exclude_path, run_path: the files, for messages.
        rates: of data_ratio.json.
        shares: of lang_prob.json, None for proportional.
        excluded: of exclude_iterator.json.
        max_epochs: most epochs by domain, or of all, or None.
        min_probability: shards below it are left out.
        weighting: the rule that replaces rates, by language.
        list_omissions: omissions are listed, and no error.
    """

    ratio_path: Path
    language_path: Path
    exclude_path: Path | None
    run_path: Path | None
    rates: Tree
    shares: Shares | None
    excluded: Excluded
    max_epochs: Tree | float | None
    min_probability: float
    weighting: dict[str, WeightingSettings]
    list_omissions: bool

    def cap(self, shard: ShardName) -> float:
        """Return the most epochs of a shard, infinity where nothing caps it."""
        most = self.max_epochs.find(shard) if isinstance(self.max_epochs, Tree) else self.max_epochs
        return float("inf") if most is None else most


def load(
    ratio_path: Path,
    language_path: Path,
    exclude_path: Path | None,
    run_path: Path | None = None,
    mixture: MixtureSettings | None = None,
    omissions: str | None = None,
) -> Choices:
    """Load what a person decided.

    Args:
        ratio_path, language_path, exclude_path: JSON or YAML; see `rates`, `languages`, `exclusion`.
        run_path: run.yaml.
        mixture: its section of that name.
        omissions: error or list, where it is not the section's that counts.

    Raises:
        ConfigError: a file cannot be read, or holds what it may not.
    """
    mixture = mixture or {"omissions": "error", "min_probability": 0.0, "weighting": {}}
    epochs = mixture.get("max_epochs")
    if isinstance(epochs, dict):
        where = f"{run_path}: mixture.max_epochs"
        most: Tree | float | None = Tree(epochs, "max_epochs", where, is_amount, f"give a number of epochs {RANGE}")
    else:
        most = epochs
    return Choices(
        ratio_path,
        language_path,
        exclude_path,
        run_path,
        Tree(
            mappings.read(ratio_path),
            "rate",
            str(ratio_path),
            is_rate,
            f"give a number {RANGE}, or 0, which leaves it out",
        ),
        load_shares(language_path),
        Excluded(exclude_path),
        most,
        mixture["min_probability"],
        mixture["weighting"],
        (omissions or mixture["omissions"]) == "list",
    )


def find(folder: str | Path, name: str) -> Path:
    """Return the path of one of a run's FILES: JSON, or YAML.

    Raises:
        ConfigError: there are both.
    """
    found = [path for suffix in (".json", ".yaml", ".yml") if (path := Path(folder, f"{name}{suffix}")).exists()]
    if len(found) > 1:
        raise ConfigError(
            f"there are {found[0].name} and {found[1].name}", where=folder, action="keep the one that you mean"
        )
    return found[0] if found else Path(folder, f"{name}.json")


def match(
    choices: Choices, shards: list[ShardName], omissions: Omissions, unusable: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Return the rate of each shard to sample, by name; note the others, and what matches nothing, in `omissions`.

    A shard of a language with a weighting has rate 1 here, unless a rate for all languages leaves it out.
    unusable: why shards cannot be sampled, by name.

    Raises:
        ConfigError: a language has rates that count, and a weighting.
    """
    rates: dict[str, float] = {}
    gaps: dict[str, list[ShardName]] = defaultdict(list)
    for shard in shards:
        rate = choices.rates.find(shard)
        if str(shard) in choices.excluded:
            omissions.leave_out(shard, "excluded")
        elif unusable and str(shard) in unusable:
            omissions.leave_out(shard, unusable[str(shard)])
        elif rate == 0:
            omissions.leave_out(shard, "rate 0")
        elif shard.language in choices.weighting:
            _check_weighted(choices, shard, rate)
            rates[str(shard)] = 1
        elif rate is None:
            gaps[choices.rates.gap(shard)].append(shard)
        else:
            rates[str(shard)] = rate
    for problem, forgotten in gaps.items():
        omissions.forgotten_shards(problem, forgotten, where=choices.ratio_path, action="add rates; 0 leaves out")
    choices.rates.note_unused(shards, omissions)
    _match_weighting(choices, shards, omissions)
    match_shares(choices.shares, [s for s in shards if str(s) in rates], choices.language_path, omissions)
    return {shard: rate for shard, rate in rates.items() if shard not in omissions.shards}


def _check_weighted(choices: Choices, shard: ShardName, rate: float | None) -> None:
    """Check that no rate of a language with a weighting would be ignored: of those for all languages, 0 and 1 count."""
    language, domain = shard.language, shard.domain
    if choices.rates.has_language(language):
        problem = f"language {language!r} has rates in {choices.ratio_path} and {_rule(choices, language)} here"
        action = f"keep one of the two; to leave a domain out of a weighting, exclude {language}_DOMAIN_*"
    elif rate not in (None, 1):
        problem = f"domain {domain!r} has rate {rate:g} for all languages, and language {language!r} has "
        problem += f"{_rule(choices, language)}, which takes the place of rates"
        action = f"write the rates of {domain!r} below the languages that they are meant for; 0 and 1 may stay: "
        action += "out, and in"
    else:
        return
    raise ConfigError(problem, where=f"{choices.run_path}: mixture.weighting.{language}", action=action)


def _rule(choices: Choices, language: str) -> str:
    return next(iter(choices.weighting[language]))


def _match_weighting(choices: Choices, shards: list[ShardName], omissions: Omissions) -> None:
    for language in sorted(choices.weighting.keys() - {shard.language for shard in shards}):
        omissions.forgotten_key(
            f"the weighting of {language} matches no shard",
            where=f"{choices.run_path}: mixture.weighting",
            action="correct or remove it",
        )


def match_excluded(choices: Choices, shards: Collection[str], omissions: Omissions) -> None:
    """Note the entries of the exclude list that match no shard."""
    for entry in choices.excluded.unused(shards):
        omissions.forgotten_key(
            f"excluded {entry!r} matches no shard",
            where=choices.exclude_path,
            action="correct or remove it; names are those of the signature, with or without counts",
        )


def match_caps(choices: Choices, shards: list[ShardName], omissions: Omissions) -> dict[str, float]:
    """Return the most epochs of each shard, by name; note the caps that match no shard."""
    caps = {str(shard): choices.cap(shard) for shard in shards}
    if isinstance(choices.max_epochs, Tree):
        choices.max_epochs.note_unused(shards, omissions)
    return caps


def check_against_corpora(
    folder: str | Path, corpora: list[Corpus], planned: Collection[str], mixture: MixtureSettings
) -> None:
    """Check what a person decided about a run against the table of corpora, before anything is built.

    Args:
        folder: config/runs/<run>.
        corpora: of the table.
        planned: names of all their shards.
        mixture: the section of run.yaml.

    Raises:
        ConfigError: as `load` and `match`, or something looks forgotten, and omissions are not listed.
    """
    ratio, languages, exclude = (find(folder, name) for name in FILES)
    choices = load(ratio, languages, exclude, Path(folder, "run.yaml"), mixture)
    # These ten stand for all shards of a corpus, also for those to come: what excludes them excludes any.
    shards = [
        ShardName(corpus.language, corpus.domain, corpus.subdomain, 4 * digit)
        for corpus in corpora
        for digit in "0123456789"
    ]
    omissions = Omissions(choices.list_omissions)
    match_excluded(choices, planned, omissions)
    match(choices, shards, omissions)
    match_caps(choices, shards, omissions)
    omissions.check()
