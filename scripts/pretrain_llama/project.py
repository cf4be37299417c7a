"""A project as one Snakemake process sees it: its configuration, plans, tokenizers and runs, all checked."""

import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pretrain_llama import configuration
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.configuration import Corpus
from pretrain_llama.doctor.variables import require
from pretrain_llama.errors import ConfigError, OperatorError, made_of_each
from pretrain_llama.estimate import plan_cost
from pretrain_llama.exports.prompts import check_prompts
from pretrain_llama.exports.small_files import check_source
from pretrain_llama.launch.layout import check_launch
from pretrain_llama.launch.megatron_lm_check import check_own_arguments
from pretrain_llama.mixture import choices
from pretrain_llama.run.sizes import check_sizes
from pretrain_llama.run.trainers import check_trainer_settings
from pretrain_llama.settings import ConfigSettings, EstimateSettings, ExpansionSettings, RunSettings
from pretrain_llama.shards import copies, listing, plan
from pretrain_llama.shards.planned import Plan, live_shards
from pretrain_llama.shards.sources import TextSize
from pretrain_llama.status.certificates import notices, notices_beforehand
from pretrain_llama.stores import SourceFile
from pretrain_llama.stores.claim import claim
from pretrain_llama.tokenization.certificate import finished_shards
from pretrain_llama.tokenization.tokenizer import Tokenizer
from pretrain_llama.tokenization.withdrawn import check_no_withdrawal
from pretrain_llama.vocabulary import expansion

CONFIG, RUNS = "config/config.yaml", "config/runs"


@dataclass
class Project:
    """What the rules look up. Properties are read when first used.

    Attributes:
        config: config.yaml, validated.
        store: az://{container}/{path} where the profile has results; empty where they lie on this machine.
        is_main: this is the process that a person started: it lists the vendors' files, and checks what it is given.
            A job of it on another node reads what is recorded.
        has_models: the tokenizers and checkpoints of config.yaml are on this machine. They are not on a node that works
            for a store.
    """

    config: ConfigSettings
    store: str
    is_main: bool
    has_models: bool = field(init=False)

    def __post_init__(self) -> None:
        self.has_models = self.is_main or not self.store

    @classmethod
    def open(cls, config: dict[str, Any], store: str, is_main: bool) -> "Project":
        """Return a project, with all that can be wrong with it checked, as far as this process has it.

        Raises:
            PretrainError: something is wrong with the configuration, the vendors' files, a tokenizer or a run.
        """
        project = cls(configuration.validate(config, "config", CONFIG), store, is_main)
        for checkpoint in project.config["conversion"]["accept_arguments"]:
            where = f"{CONFIG}: conversion.accept_arguments"
            configuration.check_choice(checkpoint, project.config["checkpoints"], "checkpoint", where)
        if is_main:
            if store:
                require(os.environ)
            check_no_withdrawal(project.location("results"))
            project._say(f"note: {note}" for note in project.copies.notes)
            _ = project.identities  # their models are there
            for tokenizer in project.plain_tokenizers.values():
                tokenizer.check_frame()
            project._say(project._notices())
        _ = project.runs  # they are checked
        return project

    def location(self, path: str) -> str:
        """Return the location of a path of the rules: below the store, or on this machine."""
        return f"{self.store}/{path}" if self.store else path

    def plan_location(self, corpus: str) -> str:
        """Return the location of a corpus's recorded plan."""
        return self.location(f"results/plan/{corpus}.json")

    def expansion_location(self, name: str) -> str:
        """Return the location of an expansion's record."""
        return self.location(f"results/expansions/{name}.json")

    @cached_property
    def corpora(self) -> list[Corpus]:
        """The table of corpora, in its order."""
        return configuration.load_corpora(self.config["corpora"])

    @cached_property
    def text_keys(self) -> dict[str, str]:
        """For each corpus, the key or column of its texts."""
        return {corpus.name: corpus.text_key for corpus in self.corpora}

    @cached_property
    def plans(self) -> dict[str, Plan]:
        """For each corpus, its plan, with the files that came since it was recorded."""
        plans = made_of_each(self.corpora, self._plan, self.config["corpora"])
        return {plan["corpus"]: plan for plan in plans}

    @cached_property
    def recorded_plans(self) -> dict[str, Plan]:
        """For each corpus, the plan that is recorded; empty ones where programs read their own, and in previews."""
        if not self.has_models or "listing" in self.config:
            return {corpus.name: plan.empty(corpus) for corpus in self.corpora}
        return {corpus.name: plan.load(self.plan_location(corpus.name), corpus) for corpus in self.corpora}

    @cached_property
    def shards(self) -> list[str]:
        """The names of all planned shards."""
        return [shard for planned in self.plans.values() for shard in plan.shard_names(planned)]

    @cached_property
    def shard_bytes(self) -> dict[str, int]:
        """Bytes of jsonl that each planned shard has, by its name."""
        return {name: shard["bytes"] for planned in self.plans.values() for name, shard in live_shards(planned).items()}

    @cached_property
    def copies(self) -> copies.Copies:
        """Vendor files of equal content, as far as a look at their ends tells; `record` reads the rest."""
        return copies.look(
            self.plans,
            self.recorded_plans,
            self.corpora,
            self.config["duplicates"],
            read="listing" not in self.config,
        )

    @cached_property
    def plain_tokenizers(self) -> dict[str, Tokenizer]:
        """The tokenizers of config.yaml, by name."""
        held_out = self.config["held_out_fraction"]
        return {
            name: Tokenizer(name, held_out_fraction=held_out, **chosen)
            for name, chosen in self.config["tokenizers"].items()
        }

    @cached_property
    def expansions(self) -> dict[str, expansion.ExpandedTokenizer]:
        """The tokenizers with a larger vocabulary, by name."""
        return {name: self._expanded(name, settings) for name, settings in self.config["expansions"].items()}

    @cached_property
    def tokenizers(self) -> dict[str, Tokenizer | expansion.ExpandedTokenizer]:
        """All tokenizers, by name."""
        return {**self.plain_tokenizers, **self.expansions}

    @cached_property
    def identities(self) -> dict[str, str]:
        """The identity of each tokenizer, by name; nothing where their models are not here."""
        return {name: one.identity for name, one in self.tokenizers.items()} if self.has_models else {}

    @cached_property
    def promises(self) -> str:
        """What the expansions promise of languages that stay unchanged, as tokenize_shard.py takes it."""
        return " ".join(str(made.promise) for made in self.expansions.values() if made.promise)

    @cached_property
    def runs(self) -> dict[str, RunSettings]:
        """The run.yaml of each run, checked against all else; nothing where their models are not here."""
        if not self.has_models:
            return {}
        return {run: self._run(run) for run in configuration.find_runs(self.config["runs"], RUNS)}

    def run_tokenizer(self, run: str) -> str:
        """Return the identity of a run's tokenizer."""
        return self.identities[self.runs[run]["tokenizer"]]

    def begin(self, lost: Callable[[OperatorError], None]) -> None:
        """Claim the store, since two runs at once would pay twice for the same shards; then record the plans.

        Args:
            lost: called in another thread if this run no longer holds its store.

        Raises:
            PretrainError: another run holds the store, or two vendor files hold the same text.
        """
        if "listing" in self.config:
            raise ConfigError(
                "a recorded listing is for previews", where=self.config["listing"], action="run without listing=…"
            )
        if self.store:
            claim(self.location("results/running.json"), lost)
        self.copies.settle()
        for corpus, planned in self.plans.items():
            plan.record(self.plan_location(corpus), planned)
        for name, expanded in self.expansions.items():
            expansion.record(self.expansion_location(name), expanded.record)

    @cached_property
    def _listed(self) -> list[SourceFile]:
        return listing.read(self.config["listing"])

    def _plan(self, corpus: Corpus) -> Plan:
        recorded, size = self.recorded_plans[corpus.name], self.config["shard_size_bytes"]
        if not self.is_main:
            return recorded
        if "listing" in self.config:
            return plan.extend(
                recorded, listing.matching(self._listed, corpus.source, corpus.where), corpus, size, self._listed_size
            )
        return plan.plan_corpus(corpus, recorded, size, self._finished)

    def _finished(self, shards: Collection[str]) -> set[str]:
        """Return those of some shards that any tokenizer has tokenized."""
        return finished_shards(self.location("results"), shards)

    @cached_property
    def _rates(self) -> EstimateSettings:
        return plan_cost.load_settings(self.config, CONFIG)

    def _listed_size(self, file: SourceFile, _text_key: str) -> TextSize:
        return TextSize(plan_cost.jsonl_bytes(file, self._rates["ratios"]))

    def _expanded(self, name: str, settings: ExpansionSettings) -> expansion.ExpandedTokenizer:
        expansion.check(name, settings, self.plain_tokenizers, self.corpora)
        base, recorded = self.plain_tokenizers[settings["tokenizer"]], self.expansion_location(name)
        if self.is_main:
            record = expansion.plan_expansion(name, settings, base, self.plans, recorded)
        else:
            record = expansion.load(recorded)
        return expansion.ExpandedTokenizer(name, base, record, settings["new_rows"])

    def _notices(self) -> list[str]:
        """Return which tokenizers are slow, and which of their shards may be wrong."""
        results = self.location("results")
        return [
            *(notice for one in self.plain_tokenizers.values() for notice in notices_beforehand(one, results)),
            *(notice for one in self.expansions.values() for notice in notices(one.identity, results)),
        ]

    def _run(self, run: str) -> RunSettings:
        folder, where = f"{RUNS}/{run}", f"{RUNS}/{run}/run.yaml"
        chosen = configuration.load_run(folder)
        configuration.check_choice(chosen["tokenizer"], self.tokenizers, "tokenizer", f"{where}: tokenizer")
        configuration.check_choice(
            chosen["checkpoint"], self.config["checkpoints"], "checkpoint", f"{where}: checkpoint"
        )
        checkpoint, tokenizer = self.config["checkpoints"][chosen["checkpoint"]], self.tokenizers[chosen["tokenizer"]]
        plain = tokenizer.base if isinstance(tokenizer, expansion.ExpandedTokenizer) else tokenizer
        architecture = read_architecture(checkpoint)
        if isinstance(tokenizer, expansion.ExpandedTokenizer):
            architecture = expansion.expanded(architecture, tokenizer, where)
        check_sizes(chosen, architecture, tokenizer.vocab_size, where)
        check_launch(chosen, where)
        check_trainer_settings(chosen, architecture, where)
        if self.is_main:
            check_own_arguments(chosen, architecture, where)
            plain.check_against_checkpoint(checkpoint, where)
            check_source(Path(checkpoint))
            check_prompts(chosen["sample"]["prompts"], plain, f"{where}: sample.prompts")
        choices.check_against_corpora(folder, self.corpora, self.shards, chosen["mixture"])
        return chosen

    @staticmethod
    def _say(lines: Any) -> None:
        for line in lines:
            print(line, file=sys.stderr)
