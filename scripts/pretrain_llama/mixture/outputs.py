"""Write a mixture for Megatron and as tables. Numbers are in positional notation, never 1e-05."""

import numpy as np

from pretrain_llama.mixture.mixture import Mixture, SampledShard
from pretrain_llama.names import CountedName

COLUMNS = (
    "name",
    "language",
    "domain",
    "subdomain",
    "documents",
    "tokens",
    "rate",
    "max_epochs",
    "probability",
    "sequences",
    "wanted_tokens",
    "epochs",
    "left_out",
)


def iterator_prob_script(mixture: Mixture) -> str:
    """Return a bash script that sets DATA_PATH, an array: --data-path, then probability and prefix of each shard.

    Its lines are those of the replaced pipeline: the array opens with the option, "=" is escaped, and $BIN_IDX_PATH
    stands for the folder of the .bin and .idx files until the script is sourced.
    """
    names = [str(shard.name).replace("=", "\\=") for shard in mixture.shards]
    pairs = zip(mixture.shards, names, strict=True)
    return "\n".join(
        [
            "# Probability and prefix of each shard. BIN_IDX_PATH is the folder of the .bin and .idx files, no blanks:",
            "#   BIN_IDX_PATH=/data; source iterator_prob.sh; python pretrain_gpt.py ${DATA_PATH[@]} …",
            ': "${BIN_IDX_PATH:?set it to the folder of the .bin and .idx files}"',
            "DATA_PATH=( --data-path ",
            *(f"{positional(shard.probability)} $BIN_IDX_PATH/{name}" for shard, name in pairs),
            ")\n",
        ]
    )


def data_path_text(mixture: Mixture, folder: str) -> str:
    """Return a file for Megatron-LM's --data-args-path: probability and prefix of each shard, a line each.

    Args:
        folder: of the .bin and .idx files; empty for names alone.
    """
    return "".join(f"{positional(shard.probability)} {_prefix(shard, folder)}\n" for shard in mixture.shards)


def blend(mixture: Mixture, folder: str) -> dict[str, list[str] | None]:
    """Return a file for Megatron-LM's --per-split-data-args-path: the blend of each split, here of training alone.

    A blend is a flat list, probability and prefix in turn, as megatron-core's get_blend_from_list reads it
    (megatron/core/datasets/utils.py).
    """
    pairs = ((positional(shard.probability), _prefix(shard, folder)) for shard in mixture.shards)
    return {"train": [word for pair in pairs for word in pair], "valid": None, "test": None}


def _prefix(shard: SampledShard, folder: str) -> str:
    return f"{folder.rstrip('/')}/{shard.name}" if folder else str(shard.name)


def positional(number: float) -> str:
    """Return a number in positional notation, as short as gives back the same float64: 0.00001, never 1e-05."""
    return np.format_float_positional(number, unique=True, trim="-")


def csv_text(mixture: Mixture) -> str:
    """Return a table with a row per shard, first those sampled; `left_out` says why one of the others is not."""
    import pandas as pd

    rows = [_name_columns(shard.name) | _numbers(mixture, shard) for shard in mixture.shards]
    rows += [_name_columns(left.name) | {"left_out": left.reason} for left in mixture.left_out]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object).to_csv(index=False, lineterminator="\n")


def _name_columns(name: CountedName) -> dict[str, object]:
    shard = name.shard
    return {
        "name": name,
        "language": shard.language,
        "domain": shard.domain,
        "subdomain": shard.subdomain,
        "documents": name.documents,
        "tokens": name.tokens,
    }


def _numbers(mixture: Mixture, shard: SampledShard) -> dict[str, object]:
    capped = shard.max_epochs < float("inf")
    return {
        "rate": positional(shard.rate),
        "max_epochs": positional(shard.max_epochs) if capped else "",
        "probability": positional(shard.probability),
        "sequences": shard.sequences,
        "wanted_tokens": shard.sequences * mixture.length.sequence_length_tokens,
        "epochs": f"{mixture.epochs(shard):.6f}",
    }
