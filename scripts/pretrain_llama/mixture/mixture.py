"""The mixture, as probabilities.json holds it: how often each shard is sampled, and what is left out and why."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pretrain_llama.errors import DataError
from pretrain_llama.files import read_json
from pretrain_llama.names import CountedName, parse_counted

FILE = "probabilities.json"


@dataclass(frozen=True)
class TrainingLength:
    """The length of a training in sequences, and of these in tokens, 1 where only a number of tokens is known."""

    sequences: int
    sequence_length_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens that the whole training draws."""
        return self.sequences * self.sequence_length_tokens


@dataclass(frozen=True)
class SampledShard:
    """A shard of the mixture.

    Attributes:
        rate: how much of its tokens weighs, against those of other shards of its language.
        max_epochs: the most that it may be sampled, infinity where nothing caps it.
        probability: with which a sequence is drawn from it.
        sequences: that the training draws from it.
    """

    name: CountedName
    rate: float
    max_epochs: float
    probability: float
    sequences: int


@dataclass(frozen=True)
class LeftOut:
    """A shard that is not sampled, and why."""

    name: CountedName
    reason: str


@dataclass(frozen=True)
class Mixture:
    """The mixture of a training.

    Attributes:
        tokenizer: identity of the shards' tokenizer, None where their names do not tell.
        length: of the training.
        shards: those sampled, by name; their probabilities sum to 1.
        left_out: the others, by name.
        unmatched_keys: what a person gave that matches nothing, in words.
    """

    tokenizer: str | None
    length: TrainingLength
    shards: list[SampledShard]
    left_out: list[LeftOut]
    unmatched_keys: list[str]

    def epochs(self, shard: SampledShard) -> float:
        """Return how often the training passes over a shard."""
        return shard.probability * self.length.tokens / shard.name.tokens

    @cached_property
    def by_name(self) -> dict[str, SampledShard]:
        """The sampled shards by counted name."""
        return {str(shard.name): shard for shard in self.shards}

    def to_json(self) -> dict[str, Any]:
        """Return the mixture for probabilities.json; `max_epochs` holds the capped shards alone."""
        capped = [shard for shard in self.shards if shard.max_epochs < float("inf")]
        return {
            "tokenizer": self.tokenizer,
            "training_tokens": self.length.tokens,
            "training_sequences": self.length.sequences,
            "sequence_length_tokens": self.length.sequence_length_tokens,
            "probabilities": {str(shard.name): shard.probability for shard in self.shards},
            "sequences": {str(shard.name): shard.sequences for shard in self.shards},
            "rates": {str(shard.name): shard.rate for shard in self.shards},
            "max_epochs": {str(shard.name): shard.max_epochs for shard in capped},
            "left_out": [
                {"name": str(left.name), "tokens": left.name.tokens, "reason": left.reason} for left in self.left_out
            ],
            "unmatched_keys": self.unmatched_keys,
        }

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Return the mixture that a probabilities.json holds, given by its path or its folder.

        Raises:
            DataError: there is none, or another version of the programs wrote it.
        """
        path = Path(path, FILE) if Path(path).is_dir() else Path(path)
        try:
            return cls._from_json(read_json(path))
        except FileNotFoundError:
            raise DataError("no mixture", where=path, action="write it with scripts/compute_probabilities.py") from None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"no mixture of this version: {type(error).__name__}: {error}",
                where=path,
                action="write it with scripts/compute_probabilities.py",
            ) from error

    @classmethod
    def _from_json(cls, value: dict[str, Any]) -> Self:
        shards = [
            SampledShard(
                parse_counted(name),
                value["rates"][name],
                value["max_epochs"].get(name, float("inf")),
                probability,
                value["sequences"][name],
            )
            for name, probability in value["probabilities"].items()
        ]
        return cls(
            value["tokenizer"],
            TrainingLength(value["training_sequences"], value["sequence_length_tokens"]),
            shards,
            [LeftOut(parse_counted(left["name"]), left["reason"]) for left in value["left_out"]],
            value["unmatched_keys"],
        )
