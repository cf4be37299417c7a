"""Map the token ids in config.json and generation_config.json from the source's tokenizer to the run's.

bos_token_id    the run's; where it names none, the source's, if it is a control token in both tokenizers, under one
                name; else null
eos_token_id    the run's, so that generating stops where the training's documents ended. With it, other ids of the
                source stay that are control tokens in both tokenizers, under one name: as <|eot_id|> of a Llama 3
pad_token_id    the source's, on the same condition; else the run's, or null
other keys      such as suppress_tokens: as they are, where each of their ids has one name in both tokenizers; else
                left out
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama.errors import ConfigError
from pretrain_llama.exports.tokenizer_files import Tokens

# Of transformers' GenerationConfig; those of former versions, a config.json may hold, too.
OTHER_KEYS = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "constraints",
    "decoder_start_token_id",
    "force_words_ids",
    "forced_bos_token_id",
    "forced_decoder_ids",
    "forced_eos_token_id",
    "sequence_bias",
    "suppress_tokens",
)


@dataclass(frozen=True)
class TokenIds:
    """What the ids of a source's files mean, and which ids replace them.

    Attributes:
        tokens: of the run's tokenizer that have a role.
        ours, theirs: pieces by id, of the run's tokenizer and the source's; the latter is empty where there is none.
        special: ids of the run's control tokens, by name.
    """

    tokens: Tokens
    ours: dict[int, str]
    theirs: dict[int, str]
    special: dict[str, int]

    def replaced(self, config: dict[str, Any], name: str) -> tuple[dict[str, Any], list[str]]:
        """Return what a file holds with the ids of the run, and what was changed, a line each.

        Args:
            config: what the source's file holds.
            name: of the file, for the lines.
        """
        ids = {
            "bos_token_id": self._id("bos"),
            "eos_token_id": self._ends(config.get("eos_token_id")),
            "pad_token_id": self._id("pad"),
        }
        gone = [key for key in OTHER_KEYS if config.get(key) is not None and not self._same(config[key])]
        changed = [
            f"{name}: {key}: {config.get(key)!r} -> {value!r}" for key, value in ids.items() if config.get(key) != value
        ]
        changed += [f"{name}: {key}: left out, its ids are others in the run's tokenizer" for key in gone]
        kept = {key: value for key, value in config.items() if key not in gone}
        return kept | ids, changed

    def same_control(self, number: Any) -> bool:
        """Say whether an id of the source is that of a control token of one name in both tokenizers."""
        return _is_id(number) and number in self.special.values() and self._same(number)

    def _id(self, role: str) -> int | None:
        token = self.tokens[role]
        return token.id if token else None

    def _ends(self, theirs: Any) -> int | list[int] | None:
        others = theirs if isinstance(theirs, list) else [theirs]
        ends = [self._id("eos"), *filter(self.same_control, others)]
        unique = [number for number in dict.fromkeys(ends) if number is not None]
        return unique if len(unique) > 1 else next(iter(unique), None)

    def _same(self, value: Any) -> bool:
        """Say whether all ids in a value have one name in both tokenizers."""
        ids = list(_leaves(value))
        return all(_is_id(number) and self.ours.get(number, 0) == self.theirs.get(number) for number in ids)


def check_in_range(config: dict[str, Any], rows: int, where: Path) -> None:
    """Check the ids of a source whose tokenizer is not known, which stay as they are.

    Raises:
        ConfigError: one is no id of the model.
    """
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = config.get(key)
        ids = value if isinstance(value, list) and key == "eos_token_id" else [value]
        if any(number is not None and not (_is_id(number) and 0 <= number < rows) for number in ids):
            raise ConfigError(
                f"{key} {value!r} is no id of a model of {rows} rows",
                where=where,
                action="correct it, or remove it; or give the tokenizer that the model was trained with",
            )


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _leaves(value: Any) -> Iterator[Any]:
    """Yield what a value holds, in lists at any depth."""
    if isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value
