"""Find a Llama's folder and its tokenizer, and choose what config.yaml says of them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama import mappings
from pretrain_llama.checkpoints.architecture import Architecture, read_architecture
from pretrain_llama.checkpoints.config_file import CONFIG
from pretrain_llama.errors import ConfigError, PretrainError, listed
from pretrain_llama.tokenization.engines import read_pieces
from pretrain_llama.tokenization.frame import told_beside
from pretrain_llama.tokenization.tokenizer import Tokenizer

TOKENIZERS = ("tokenizer.model", "tokenizer.json")


@dataclass(frozen=True)
class Model:
    """A model's folder: its tokenizer as configured, and its architecture, None where it has no config.json.

    `notes` say which of two tokenizers was taken, and why.
    """

    folder: Path
    tokenizer: Tokenizer
    architecture: Architecture | None
    notes: list[str]

    @property
    def name(self) -> str:
        """Its name in config.yaml, which is also the tokenizer's."""
        return self.tokenizer.name

    @property
    def settings(self) -> dict[str, Any]:
        """The tokenizer's keys in config.yaml."""
        one = self.tokenizer
        keys = {"model": one.model, "prepend_bos": one.prepend_bos, "append_eos": one.append_eos}
        return keys | {key: token for key in ("bos_token", "eos_token") if (token := getattr(one, key))}


def find(folder: Path, chosen: Path | None) -> Model:
    """Return the model to start with.

    Args:
        folder: of the vendor's files; models are looked for in it, and in the folders beside it.
        chosen: the model's folder, where the person names it.

    Raises:
        ConfigError: there is none, or there are several; or it is none that is read.
    """
    if chosen is None:
        found = list(dict.fromkeys(_models(folder)))
        if len(found) != 1:
            raise ConfigError(
                f"several models: {listed(list(map(str, found)))}" if found else "no model's folder is there",
                where=f"{folder}, and the folders beside it",
                action="name it by --model: a Llama of Hugging Face with its tokenizer, or a folder with a "
                "tokenizer.model or tokenizer.json alone, to merge and tokenize without training",
            )
        chosen = found[0]
    architecture = read_architecture(chosen) if (chosen / CONFIG).exists() else None
    tokenizer, notes = _tokenizer(chosen, architecture)
    return Model(chosen, tokenizer, architecture, notes)


def _models(folder: Path) -> Iterator[Path]:
    for path in (*sorted(folder.rglob(CONFIG)), *sorted(folder.resolve().parent.glob(f"*/{CONFIG}"))):
        try:
            is_model = isinstance(found := json.loads(path.read_bytes()), dict) and "model_type" in found
        except ValueError:
            continue
        if is_model:
            yield path.parent if path.is_relative_to(folder) else folder.parent / path.parent.name


def _tokenizer(folder: Path, architecture: Architecture | None) -> tuple[Tokenizer, list[str]]:
    """Return the first tokenizer of a folder, or beside it, that can be read; and why others were not taken."""
    paths = [path for place in (folder, folder.parent) for name in TOKENIZERS if (path := place / name).is_file()]
    refused: list[str] = []
    for path in paths:
        try:
            return _configured(path, folder, architecture), refused
        except PretrainError as error:
            refused.append(f"{path} was not taken: {error.problem}")
    raise ConfigError(
        "; ".join(refused) or "no tokenizer is there",
        where=folder,
        action="put the model's tokenizer.model, of SentencePiece, or its tokenizer.json there",
    )


def _configured(path: Path, folder: Path, architecture: Architecture | None) -> Tokenizer:
    """Return a tokenizer with what surrounds documents: BOS and EOS, where it has them."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", folder.resolve().name).strip("-").lower() or "llama"
    roles = ("bos", "eos")
    tokens = {role: _token(path, folder, role) if path.suffix == ".json" else None for role in roles}
    reference = Tokenizer(name, str(path), bos_token=tokens["bos"], eos_token=tokens["eos"]).reference
    has = {role: reference.frame_token(role) is not None for role in roles}
    given = {role: token if has[role] else None for role, token in tokens.items()}
    if architecture and reference.vocab_size > architecture.vocab_size:
        raise ConfigError(
            f"it has {reference.vocab_size:,} ids, and the model embeds {architecture.vocab_size:,}",
            where=path,
            action="put the model's own tokenizer beside its config.json",
        )
    return Tokenizer(name, str(path), has["bos"], has["eos"], given["bos"], given["eos"])


def _token(path: Path, folder: Path, role: str) -> str | None:
    """Return what the files beside a tokenizer.json call its BOS or EOS: the tokenizer's own, else the model's id."""
    if told := told_beside(path, f"{role}_token"):
        return told
    config = folder / CONFIG
    number = mappings.read_object(config).get(f"{role}_token_id") if config.exists() else None
    number = number[0] if isinstance(number, list) and number else number
    return read_pieces(path).get(number) if isinstance(number, int) else None
