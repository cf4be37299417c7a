"""Plan the expansion of a tokenizer before any job runs, so that all that follows can be previewed.

What an expansion is made from is recorded in results/expansions/{name}.json:

    {"base": identity of the tokenizer, "settings": of config.yaml, "pieces": SHA-256 of the list of pieces, if given,
     "frame": {"bos": …, "eos": …}, names of the base's that are not the model's own, if config.yaml gives any,
     "texts": {shard: its ranges of vendor files, with their fingerprints}, "vocab_size": …, "identity": …}

The first shard of each corpus is looked at. Corpora and files that come later change nothing that is recorded: a
vocabulary stays as it is until its settings or its base change; then it is another one, under another path.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pretrain_llama import names, stores
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import ConfigError, OperatorError
from pretrain_llama.files import json_text, sha256
from pretrain_llama.settings import ConfigSettings, ExpansionSettings
from pretrain_llama.shards import plan
from pretrain_llama.shards.planned import Plan, live_shards
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.tokenizer import Tokenizer
from pretrain_llama.vocabulary.model import load_model
from pretrain_llama.vocabulary.pieces import read_pieces
from pretrain_llama.vocabulary.promises import Promise

WHERE = "config/config.yaml: expansions"
CHOSEN = ("base", "settings", "pieces", "frame", "vocab_size")  # what a record is kept for


@dataclass(frozen=True)
class ExpandedTokenizer:
    """A tokenizer that the workflow makes; it frames documents as its base does, and is used as `Tokenizer` is.

    Attributes:
        name: as in config.yaml.
        base: what it enlarges.
        record: what it is made from; see above.
        new_rows: what a checkpoint's rows of its new ids hold; see expanding.py.
    """

    name: str
    base: Tokenizer
    record: dict[str, Any]
    new_rows: str
    file_name: str = "tokenizer.model"

    @property
    def identity(self) -> str:
        """{name}.{eight digits}, which open the SHA-256 of what it is made from."""
        return self.record["identity"]

    @property
    def of(self) -> str:
        """Identity of the tokenizer that it enlarges."""
        return self.record["base"]

    @property
    def vocab_size(self) -> int:
        """Number of its ids."""
        return self.record["vocab_size"]

    @property
    def shards(self) -> list[str]:
        """The shards that are looked at."""
        return list(self.record["texts"])

    @property
    def options(self) -> list[str]:
        """The options of expand_vocabulary.py that say how the pieces are found."""
        settings = self.record["settings"]
        words = ["--sample-bytes", str(settings["sample_bytes_per_corpus"])]
        if "pieces" in settings:
            return [*words, "--pieces", settings["pieces"]]
        words += ["--new-pieces", str(settings["new_pieces"]), "--languages", *settings["languages"]]
        return [*words, "--unchanged-languages", *settings.get("unchanged_languages", [])]

    @property
    def promise(self) -> Promise | None:
        """Its promise to languages that stay unchanged; None without any."""
        settings = self.record["settings"]
        languages = tuple(settings.get("unchanged_languages", []))
        return Promise(self.identity, self.vocab_size - settings["new_pieces"], languages) if languages else None

    @property
    def model(self) -> str:
        """The path at which the workflow makes it."""
        return f"results/tokenizers/{self.identity}/{self.file_name}"

    @property
    def prepend_bos(self) -> bool:
        """As of the base."""
        return self.base.prepend_bos

    @property
    def append_eos(self) -> bool:
        """As of the base."""
        return self.base.append_eos

    @property
    def bos_token(self) -> str | None:
        """As of the base, where that is not the model's own."""
        return self.record.get("frame", {}).get("bos")

    @property
    def eos_token(self) -> str | None:
        """As of the base, where that is not the model's own."""
        return self.record.get("frame", {}).get("eos")


def check(name: str, settings: ExpansionSettings, tokenizers: Mapping[str, Tokenizer], corpora: list[Corpus]) -> None:
    """Check what no schema can say of an expansion.

    Raises:
        ConfigError: its name is taken, or its tokenizer or a language is unknown, or a language is in both lists.
    """
    where = f"{WHERE}.{name}"
    if name in tokenizers:
        raise ConfigError(f"{name!r} is a tokenizer as well", where=where, action="give the expansion another name")
    if settings["tokenizer"] not in tokenizers:
        raise ConfigError(
            f"unknown tokenizer {settings['tokenizer']!r}",
            where=where,
            action=f"use one of those in config.yaml: {', '.join(tokenizers)}",
        )
    known = dict.fromkeys(corpus.language for corpus in corpora)
    told = {"languages": settings.get("languages", []), "unchanged_languages": settings.get("unchanged_languages", [])}
    for key, languages in told.items():
        for language in languages:
            if language not in known:
                raise ConfigError(
                    f"unknown language {language!r}",
                    where=f"{where}.{key}",
                    action=f"use those of the table of corpora: {', '.join(known)}",
                )
    if both := [lang for lang in settings.get("languages", []) if lang in settings.get("unchanged_languages", [])]:
        raise ConfigError(
            f"new pieces are trained on {', '.join(both)}, and may not be used in it",
            where=f"{where}.unchanged_languages",
            action="name each language in one of the two lists",
        )


def plan_expansion(
    name: str, settings: ExpansionSettings, base: Tokenizer, plans: Mapping[str, Plan], path: str | Path
) -> dict[str, Any]:
    """Return the record of an expansion: the one that is there, if it still holds, or a new one.

    Args:
        name: of the expansion.
        settings: of it.
        base: the tokenizer that it enlarges.
        plans: by corpus.
        path: where its record is, or will be.

    Raises:
        ConfigError: the base is no BPE model, the list of pieces is none, or a corpus that the expansion was made from
            is gone.
    """
    kept = {key: value for key, value in settings.items() if key != "new_rows"}  # which the tokenizer does not know
    made_from: dict[str, Any] = {"base": base.identity, "settings": kept}
    if "pieces" in settings:
        _check_list(settings["pieces"])
        made_from["pieces"] = sha256(settings["pieces"])
    if named := _named_frame(base):
        made_from["frame"] = named
    model = load_model(base.model)
    new = len(read_pieces(settings["pieces"], model)) if "pieces" in settings else settings["new_pieces"]
    made_from["vocab_size"] = len(model.pieces) + new
    recorded = stores.find_json(path)
    if recorded is not None and _holds(recorded, made_from):
        _check_corpora(name, recorded, plans, path)
        return recorded
    record = made_from | {"texts": {plan.shard_names(planned)[0]: _ranges(planned) for planned in plans.values()}}
    digits = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:8]
    return record | {"identity": f"{name}.{digits}"}


def expanded(architecture: Architecture, tokenizer: ExpandedTokenizer, where: str) -> Architecture:
    """Return the architecture of a checkpoint with rows for an expanded tokenizer's ids.

    Raises:
        ConfigError: the checkpoint embeds other ids than the tokenizer had.
    """
    before = tokenizer.base.vocab_size
    if architecture.vocab_size != before:
        raise ConfigError(
            f"{architecture.vocab_size} ids are embedded, the tokenizer that {tokenizer.name!r} enlarges has {before}",
            where=where,
            action="choose a checkpoint whose vocab_size is that of the tokenizer",
        )
    return replace(architecture, vocab_size=tokenizer.vocab_size)


def _check_corpora(name: str, recorded: dict[str, Any], plans: Mapping[str, Plan], path: str | Path) -> None:
    made_from = [names.parse_shard(shard).corpus for shard in recorded["texts"]]
    if gone := [corpus for corpus in made_from if corpus not in plans]:
        raise ConfigError(
            f"the expansion {name!r} was made from {', '.join(gone)}, of which the table of corpora has no row",
            where=path,
            action="put the row back; a rate of 0 leaves its domain out of a run. To make another vocabulary, of the "
            "corpora that are there, give the expansion another name",
        )


def _named_frame(base: Tokenizer) -> dict[str, str]:
    """Return, by role, the BOS and EOS that config.yaml names, of which the model itself says otherwise."""
    named = {role: name for role, name in (("bos", base.bos_token), ("eos", base.eos_token)) if name}
    own = load_reference(base.model) if named else base.reference
    return {role: name for role, name in named.items() if base.reference.frame_token(role) != own.frame_token(role)}


def _check_list(path: str) -> None:
    if not Path(path).is_file():
        raise ConfigError("no list of pieces", where=path, action="write a piece a line, in UTF-8, ▁ for a space")


def _holds(recorded: dict[str, Any], made_from: dict[str, Any]) -> bool:
    return all(recorded.get(key) == value for key, value in made_from.items())


def _ranges(planned: Plan) -> list[list[Any]]:
    """Return what the first shard of a plan is made of."""
    files = planned["files"]
    return [
        [part["path"], part["start"], part["stop"], files[part["path"]]["fingerprint"]]
        for part in next(iter(live_shards(planned).values()))["ranges"]
    ]


def load(path: str | Path) -> dict[str, Any]:
    """Return the record of an expansion, which was written before the first job."""
    return stores.read_json(path)


def record(path: str | Path, made_from: dict[str, Any]) -> None:
    """Write the record of an expansion whole or not at all.

    Raises:
        OperatorError: another run has recorded one meanwhile, of the same settings, from other texts.
    """
    recorded = stores.find_json(path) or made_from
    chosen = {key: made_from[key] for key in CHOSEN if key in made_from}
    if recorded["identity"] != made_from["identity"] and _holds(recorded, chosen):
        raise OperatorError(
            f"another run recorded the expansion {recorded['identity']} since this one read it",
            where=path,
            action="run again: it goes on with that one",
        )
    stores.write_small(path, json_text(made_from).encode())


def configured_identity(name: str, config: ConfigSettings, results: str) -> str:
    """Return the identity of a tokenizer of config.yaml, or of an expansion as it is recorded.

    Args:
        name: of the tokenizer or the expansion.
        config: config.yaml, validated.
        results: where results lie: a folder, or az://container/path.

    Raises:
        ConfigError: a tokenizer has no model file.
        DataError: an expansion is not planned yet.
    """
    if name in config["expansions"]:
        return load(f"{results}/expansions/{name}.json")["identity"]
    return Tokenizer(name, held_out_fraction=config["held_out_fraction"], **config["tokenizers"][name]).identity
