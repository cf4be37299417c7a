"""A tokenizer as configured: its file, its frame, and its identity."""

import filecmp
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pretrain_llama.errors import ConfigError
from pretrain_llama.files import sha256
from pretrain_llama.tokenization.engines import Reference, load_reference, read_pieces
from pretrain_llama.tokenization.frame import frame_of

SHARED_PIECES = 0.99  # a model's reserved pieces may be given other names


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer as configured.

    Attributes:
        name: as in config.yaml.
        model: path of a SentencePiece model, or of a tokenizer.json (its name ends in .json).
        prepend_bos, append_eos: what frames each document.
        bos_token, eos_token: of a tokenizer.json, which does not say; a SentencePiece model does.
        held_out_fraction: of the documents, 0 to 1, held out of training: shards of another one hold other documents.
    """

    name: str
    model: str
    prepend_bos: bool = True
    append_eos: bool = True
    bos_token: str | None = None
    eos_token: str | None = None
    held_out_fraction: float = 0.0

    @cached_property
    def identity(self) -> str:
        """{name}.{eight digits}: part of the path of all that the tokenizer makes.

        The digits open the SHA-256 of, in this order: the model file's SHA-256 in hexadecimal, prepend_bos and
        append_eos as "0" or "1", then bos_token and eos_token where they are given, and the fraction if it is not 0.
        Then "text" where texts that name control tokens were given their ids by earlier versions.

        Raises:
            ConfigError: there is no such model file, or as `reference`.
        """
        if not Path(self.model).is_file():
            raise ConfigError(
                f"tokenizer {self.name!r} has no model file",
                where=self.model,
                action="put the tokenizer.model or tokenizer.json there, or correct its path in config.yaml",
            )
        tokens = f"{self.bos_token or ''}{self.eos_token or ''}"
        hashed = f"{sha256(self.model)}{self.prepend_bos:d}{self.append_eos:d}{tokens}{self.held_out_fraction or ''}"
        if (self.model.endswith(".json") or tokens) and self.reference.shielded:
            hashed += "text"
        return f"{self.name}.{hashlib.sha256(hashed.encode()).hexdigest()[:8]}"

    @cached_property
    def reference(self) -> Reference:
        """Its reference engine.

        Raises:
            ConfigError: the model file is of no kind that is read, or its ids are not known to be right.
        """
        return load_reference(self.model, bos_token=self.bos_token, eos_token=self.eos_token)

    @property
    def vocab_size(self) -> int:
        """Number of its ids; raises as `reference` does."""
        return self.reference.vocab_size

    def check_frame(self) -> None:
        """Check that it has the tokens that stand around documents; raises as `frame_of` does."""
        frame_of(self.reference, self.prepend_bos, self.append_eos)

    def check_against_checkpoint(self, folder: str | Path, where: str) -> None:
        """Check that the tokenizer in a checkpoint's folder, if there is one, gives the same pieces the same ids.

        Args:
            folder: of the checkpoint.
            where: what chose the two, for the message.

        Raises:
            ConfigError: more than 1 % of the ids that both have stand for other pieces.
        """
        names = dict.fromkeys([self.file_name, "tokenizer.model", "tokenizer.json"])
        theirs = next((path for name in names if (path := Path(folder) / name).is_file()), None)
        if theirs is None or filecmp.cmp(self.model, theirs, shallow=False):
            return
        ours, known = read_pieces(self.model), read_pieces(theirs)
        common = ours.keys() & known.keys()
        others = [number for number in sorted(common) if ours[number] != known[number]]
        if len(others) > (1 - SHARED_PIECES) * len(common):
            first = others[0]
            raise ConfigError(
                f"{len(others):,} of {len(common):,} ids of tokenizer {self.name!r} are other pieces to the "
                f"checkpoint: {first} is {ours[first]!r}, and was {known[first]!r}",
                where=f"{where}: tokenizer; {theirs}",
                action="choose the checkpoint's own tokenizer, or one that enlarges it (expansions of config.yaml)",
            )

    @property
    def file_name(self) -> str:
        """The name of its copy: tokenizer.model or tokenizer.json."""
        return "tokenizer.json" if self.model.endswith(".json") else "tokenizer.model"
