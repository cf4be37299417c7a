"""Tell what a configuration has, as far as files in results/ go by it."""

from pathlib import Path

from pretrain_llama import configuration, stores
from pretrain_llama.settings import ConfigSettings
from pretrain_llama.shards import plan
from pretrain_llama.status.orphans import Known
from pretrain_llama.vocabulary.expansion import configured_identity


def known_of(config: ConfigSettings, path: Path, results: str) -> Known:
    """Return the corpora, tokenizers and runs of a configuration.

    Args:
        config: config.yaml, validated.
        path: its path.
        results: where results lie: a folder, or az://container/path.

    Raises:
        PretrainError: a table, a tokenizer's model or a run's folder is missing or damaged.
    """
    corpora = configuration.load_corpora(config["corpora"])
    shards = {
        corpus.name: plan.shard_names(plan.load(f"{results}/plan/{corpus.name}.json", corpus)) for corpus in corpora
    }
    identities = {configured_identity(name, config, results) for name in config["tokenizers"]}
    recorded = [name for name in config["expansions"] if stores.exists(f"{results}/expansions/{name}.json")]
    identities |= {configured_identity(name, config, results) for name in recorded}
    runs = configuration.find_runs(config["runs"], path.parent / "runs")
    return Known(shards, identities, config["expansions"].keys(), runs)
