"""What a mixture is written as: Megatron's --data-path, JSON, and a table."""

import csv
import io
from typing import Any

import numpy as np

from pretrain_llama.mixture.probabilities import Mixture, SampledShard

COLUMNS = ("name", "language", "domain", "documents", "tokens", "rate", "probability", "sampled_tokens", "epochs")


def data_path_script(mixture: Mixture) -> str:
    """Return a bash script that sets DATA_PATH, an array for Megatron-LM's --data-path.

    Probabilities are in positional notation, with the digits that give back the same float64.
    """
    lines = [
        "# Megatron-LM's --data-path: pairs of selection probability and prefix. To use it:",
        '#   BIN_IDX_PATH=/path/of/the/bin/idx/files source data_path.sh; … --data-path "${DATA_PATH[@]}"',
        ': "${BIN_IDX_PATH:?set it to the folder of the .bin and .idx files}"',
        "DATA_PATH=(",
        *(f'  {positional(shard.probability)} "$BIN_IDX_PATH/{shard.name}"' for shard in mixture.shards),
        ")",
    ]
    return "\n".join(lines) + "\n"


def positional(number: float) -> str:
    """Return a float64 in positional notation, as short as gives back the same number: 0.00001, never 1e-05."""
    return np.format_float_positional(number, unique=True, trim="-")


def json_value(mixture: Mixture, training_tokens: int) -> dict[str, Any]:
    """Return the mixture for a JSON file; training_tokens: tokens that the whole training draws."""
    return {
        "tokenizer": mixture.tokenizer,
        "training_tokens": training_tokens,
        "probabilities": {str(shard.name): shard.probability for shard in mixture.shards},
        "left_out": [{"name": str(name), "tokens": name.tokens, "reason": why} for name, why in mixture.left_out],
        "unmatched_keys": mixture.unmatched_keys,
    }


def csv_text(mixture: Mixture, training_tokens: int) -> str:
    """Return a table with a row per shard; sampled_tokens and epochs are over the whole training."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(_row(shard, training_tokens) for shard in mixture.shards)
    return text.getvalue()


def _row(sampled: SampledShard, training_tokens: int) -> list[object]:
    name = sampled.name
    tokens = sampled.probability * training_tokens
    return [
        name,
        name.shard.language,
        name.shard.domain,
        name.documents,
        name.tokens,
        sampled.rate,
        positional(sampled.probability),
        round(tokens),
        f"{tokens / name.tokens:.4f}",
    ]
